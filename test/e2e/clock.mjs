/**
 * Preloaded into a daemon (NODE_OPTIONS=--import): SIGUSR2 makes its wall clock jump by OVS_ESPD_CLOCK_JUMP ms more. The real clock is the
 * machine's, which a test leaves alone; monotonic time goes on as it does when someone sets the real one.
 */
const jumpMs = Number(process.env.OVS_ESPD_CLOCK_JUMP);
const now = Date.now.bind(Date);
let offsetMs = 0;
Date.now = () => now() + offsetMs;
process.on('SIGUSR2', () => {
  offsetMs += jumpMs;
});
