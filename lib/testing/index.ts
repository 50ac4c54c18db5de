export { FaultPair, type FaultPairEvents } from './fault-pair.js';
export {
  FaultProxy,
  type FaultProxyAddress,
  type FaultProxyEndpoint,
  type FaultProxyEvents,
  type FaultProxyOptions,
  type FaultProxyStats,
} from './fault-proxy.js';
export type { FaultCounts, FaultStats, FlowStats } from './fault-stats.js';
export type { Corruption, Delay, Direction, OneWay, Split } from './faults.js';
export { MemoryEndpoint, MemoryStream } from './memory-endpoint.js';
