import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Level, Role } from './verdict.js';

/** What a server does with one body, or a client with a few. Published as data, for tests in any language. */
export type Vector = ServerVector | ClientVector;

export interface ServerVector {
  readonly rule: string;
  readonly role: 'server';
  readonly name: string;
  /** As text; `bodyHex` instead where it is none. */
  readonly body?: string;
  readonly bodyHex?: string;
  readonly then: 'closed' | 'ignored' | 'answered';
  /** The keys of the response that matter. */
  readonly answer?: Readonly<Record<string, unknown>>;
}

export interface ClientVector {
  readonly rule: string;
  readonly role: 'client';
  readonly name: string;
  /** The body of the greeting, if it matters. */
  readonly greeting?: string;
  /** Sent to the client when it has made its request, whose id `@ID@` stands for. */
  readonly bodies: readonly string[];
  /** What becomes of the request; `closed`: of the connection. An error has to contain the text. */
  readonly then: 'closed' | { readonly result: unknown } | { readonly error: string };
  /** What the application sees of pushes, in order; not looked at if absent. */
  readonly pushes?: readonly (readonly [type: string, data: unknown])[];
}

interface VectorFile {
  /** Version of the wire. */
  readonly wire: string;
  readonly vectors: readonly Vector[];
}

/** As far from `lib/cli/conformance` as from `dist/cli/conformance`. */
const FILE = join(__dirname, '../../../conformance/vectors.json');

export function readVectors(): VectorFile {
  return JSON.parse(readFileSync(FILE, 'utf8')) as VectorFile;
}

export interface VectorRule {
  readonly id: string;
  readonly level: Level;
  readonly roles: readonly Role[];
  readonly summary: string;
}

const BOTH: readonly Role[] = ['server', 'client'];
const SERVER: readonly Role[] = ['server'];
const CLIENT: readonly Role[] = ['client'];

/** The rules that vectors alone put to the test. */
export const VECTOR_RULES: readonly VectorRule[] = [
  {
    id: 'framing/zero-length',
    level: 'v2',
    roles: BOTH,
    summary: 'ends the connection on a frame of length 0',
  },
  { id: 'body/json', level: 'v2', roles: BOTH, summary: 'ends the connection on a body that is not JSON' },
  {
    id: 'body/utf-8',
    level: 'v2',
    roles: SERVER,
    summary: 'ends the connection on a body that is not UTF-8',
  },
  { id: 'body/object', level: 'v2', roles: BOTH, summary: 'ends the connection on a body that is no object' },
  { id: 'body/any-json', level: 'v2', roles: BOTH, summary: 'reads JSON in whatever way it is written' },
  { id: 'body/surrogate', level: 'v2', roles: BOTH, summary: 'keeps half a surrogate pair' },
  {
    id: 'message/keys',
    level: 'v2',
    roles: BOTH,
    summary: 'ends the connection if one of the four keys is missing',
  },
  { id: 'message/type', level: 'v2', roles: BOTH, summary: 'ends the connection on an unknown msg_type' },
  {
    id: 'message/lenient',
    level: 'v2',
    roles: BOTH,
    summary: 'reads no timestamp, needs no error, passes over other keys',
  },
  {
    id: 'greeting/extra',
    level: 'v2',
    roles: CLIENT,
    summary: 'takes a greeting with keys it does not know',
  },
  {
    id: 'request/unknown',
    level: 'v2',
    roles: SERVER,
    summary: 'answers "Unknown request type" if nothing handles the type',
  },
  {
    id: 'request/no-type',
    level: 'v2',
    roles: SERVER,
    summary: 'answers the same if there is no type or it is no string',
  },
  {
    id: 'request/data-missing',
    level: 'v2',
    roles: SERVER,
    summary: 'hands {} to the handler if there is no inner data',
  },
  {
    id: 'request/data-null',
    level: 'v2',
    roles: SERVER,
    summary: 'hands null to the handler if the inner data is null',
  },
  {
    id: 'request/error-key',
    level: 'v2',
    roles: SERVER,
    summary: 'takes no notice of an error in a request',
  },
  {
    id: 'response/value',
    level: 'v2',
    roles: BOTH,
    summary: 'carries any JSON value as it is, false ones too',
  },
  { id: 'response/id', level: 'v2', roles: SERVER, summary: 'sends back the id as it came, whatever it is' },
  {
    id: 'response/nothing',
    level: 'v2',
    roles: SERVER,
    summary: 'answers null if the handler returns nothing',
  },
  { id: 'response/failure', level: 'v2', roles: BOTH, summary: 'carries a failure as the text in error' },
  { id: 'response/empty-error', level: 'v2', roles: CLIENT, summary: 'takes an empty error for none' },
  {
    id: 'response/error-wins',
    level: 'v2',
    roles: CLIENT,
    summary: 'takes a response with error and data for a failure',
  },
  {
    id: 'response/unknown-id',
    level: 'v2',
    roles: CLIENT,
    summary: 'passes over responses that it does not wait for',
  },
  { id: 'response/twice', level: 'v2', roles: CLIENT, summary: 'takes the first of two responses' },
  { id: 'ignored/push', level: 'v2', roles: SERVER, summary: 'answers no push' },
  { id: 'ignored/response', level: 'v2', roles: SERVER, summary: 'passes over a response' },
  { id: 'ignored/error', level: 'v2', roles: BOTH, summary: 'passes over an error frame' },
  { id: 'ignored/request', level: 'v2', roles: CLIENT, summary: 'answers no request' },
  { id: 'ignored/heartbeat', level: 'v2', roles: CLIENT, summary: 'answers no heartbeat' },
  { id: 'push/delivered', level: 'v2', roles: CLIENT, summary: 'hands pushes to the application, in order' },
  { id: 'push/odd', level: 'v2', roles: CLIENT, summary: 'lives on after a push without type or data' },
  { id: 'v1/response', level: 'v1', roles: BOTH, summary: 'carries a result in data, with status success' },
  { id: 'v1/data', level: 'v1', roles: SERVER, summary: 'hands {} to the handler if there is no data' },
  { id: 'v1/id', level: 'v1', roles: SERVER, summary: 'sends back the id as it came' },
  { id: 'v1/no-id', level: 'v1', roles: SERVER, summary: 'answers nothing without an id' },
  {
    id: 'v1/unknown',
    level: 'v1',
    roles: SERVER,
    summary: 'answers status error if nothing handles the type',
  },
  { id: 'v1/no-type', level: 'v1', roles: SERVER, summary: 'answers status error if there is no type' },
  { id: 'v1/failure', level: 'v1', roles: BOTH, summary: 'carries a failure as status error' },
  { id: 'v1/ping', level: 'v1', roles: SERVER, summary: 'answers ping by itself' },
  {
    id: 'v1/malformed',
    level: 'v1',
    roles: SERVER,
    summary: 'ends the connection on what is no JSON object',
  },
  { id: 'v1/push', level: 'v1', roles: CLIENT, summary: 'hands a push to the application' },
  { id: 'v1/greeting', level: 'v1', roles: CLIENT, summary: 'takes the greeting for both versions' },
  { id: 'v1/v2-frame', level: 'v1', roles: CLIENT, summary: 'passes over frames without a type' },
  { id: 'v1/pair', level: 'v1', roles: CLIENT, summary: 'takes the push for both versions once' },
];
