/** Charts as SVG text, drawn by Apache ECharts on the server side: no browser, no script in the page. */
import * as echarts from 'echarts';
import { escapeHtml } from './escape.ts';
import type { BarChart, Chart, LineChart } from './page.ts';

const WIDTH = 920;
const BAR_HEIGHT = 15;
const GROUP_GAP = 12;
const FRAME_HEIGHT = 120;
/** Texts cannot be measured without a browser: room for the longest name of a contender. */
const LABEL_WIDTH = 270;
const LINES_HEIGHT = 420;
const GAP = { barGap: '10%', barCategoryGap: '25%' } as const;
/** With more points than this a line has no marks on it. */
const MOST_SYMBOLS = 40;
const WHISKER = '#333';
/** Distinct for readers who see colours differently (Okabe and Ito). */
const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#f0e442', '#000000'];
const FONT = { fontFamily: 'system-ui, sans-serif', color: '#222' };

/** Nothing answers to the pointer: the page has no script. */
const STILL = { silent: true, emphasis: { disabled: true } } as const;

type Option = echarts.EChartsCoreOption;

const common = (title: string): Option => ({
  animation: false,
  color: COLOURS,
  textStyle: FONT,
  title: { text: title, left: 'center', textStyle: { ...FONT, fontSize: 15 } },
  legend: { bottom: 4, type: 'plain', selectedMode: false, itemGap: 28, textStyle: { ...FONT, fontSize: 11 } },
});

/** The whiskers of one series of bars: a line from low to high at the middle of each bar. */
function whiskers(values: BarChart['series'][number]['values'], index: number, count: number): object {
  return {
    type: 'custom',
    silent: true,
    z: 10,
    tooltip: { show: false },
    data: values.flatMap((value, row) => (value === undefined ? [] : [[row, value.low, value.high]])),
    encode: { x: [1, 2], y: 0 },
    renderItem: (_: unknown, api: echarts.CustomSeriesRenderItemAPI) => {
      const [from, to] = [1, 2].map((dimension) => api.coord([api.value(dimension), api.value(0)]));
      const layout = api.barLayout?.({ ...GAP, count })?.[index];
      if (from === undefined || to === undefined || layout === undefined) return null;
      const y = from[1]! + layout.offsetCenter;
      const line = (x1: number, y1: number, x2: number, y2: number) => ({
        type: 'line' as const,
        shape: { x1, y1, x2, y2 },
        style: { stroke: WHISKER, lineWidth: 1.2 },
      });
      const [left, right] = [from[0]!, to[0]!];
      return {
        type: 'group',
        children: [line(left, y, right, y), line(left, y - 3, left, y + 3), line(right, y - 3, right, y + 3)],
      };
    },
  };
}

function bars({ title, unit, labels, series, logarithmic = false }: BarChart): Option {
  return {
    ...common(title),
    grid: { left: LABEL_WIDTH, right: 60, top: 40, bottom: 60 },
    xAxis: { type: logarithmic ? 'log' : 'value', name: unit, nameLocation: 'middle', nameGap: 24 },
    yAxis: { type: 'category', inverse: true, data: [...labels], axisTick: { show: false } },
    series: [
      ...series.map(({ name, values }) => ({
        type: 'bar',
        name,
        ...STILL,
        ...GAP,
        data: values.map((value) => value?.median ?? '-'),
        label: {
          show: true,
          position: 'right',
          distance: 8,
          formatter: ({ value }: { value: unknown }) => (typeof value === 'number' ? value.toPrecision(3) : ''),
          fontSize: 10,
          color: FONT.color,
        },
      })),
      ...series.map(({ values }, index) => whiskers(values, index, series.length)),
    ],
  };
}

function lines({ title, xTitle, yTitle, series, logarithmicX = false, logarithmicY = false }: LineChart): Option {
  const axis = (name: string, logarithmic: boolean, nameGap: number) => ({
    type: logarithmic ? 'log' : 'value',
    name,
    nameLocation: 'middle',
    nameGap,
  });
  return {
    ...common(title),
    grid: { left: 70, right: 30, top: 40, bottom: 80 },
    xAxis: axis(xTitle, logarithmicX, 28),
    yAxis: { ...axis(yTitle, logarithmicY, 50), min: logarithmicY ? undefined : 0 },
    series: series.map(({ name, points }) => ({
      type: 'line',
      name,
      ...STILL,
      showSymbol: points.length <= MOST_SYMBOLS,
      symbolSize: 5,
      data: points.map(([x, y]) => [x, y]),
    })),
  };
}

/** Draws a chart. Gives an `<svg>` element. */
export function toSvg(chart: Chart): string {
  const group = chart.kind === 'bars' ? BAR_HEIGHT * chart.series.length + GROUP_GAP : 0;
  const height = chart.kind === 'bars' ? FRAME_HEIGHT + group * chart.labels.length : LINES_HEIGHT;
  const instance = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  try {
    instance.setOption(chart.kind === 'bars' ? bars(chart) : lines(chart));
    // Rules for a pointer that hovers, of which the page has no need, and a name for those who do not see it.
    const svg = instance.renderToSVGString().replace(/<style[\s\S]*?<\/style>\n?/, '');
    return svg.replace(/^<svg/, `<svg role="img" aria-label="${escapeHtml(chart.title)}"`);
  } finally {
    instance.dispose();
  }
}
