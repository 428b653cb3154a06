import { createNobleAead } from '../../../dataplane/esp/aead-noble.ts';
import { describeAead } from './aead-compliance.ts';

describeAead('noble', createNobleAead);
