import { createNodeAead } from '../../../dataplane/esp/aead-node.ts';
import { describeAead } from './aead-compliance.ts';

describeAead('node', createNodeAead);
