import { CAPABILITIES, COMPACT } from './capabilities.js';
import { codecCapability } from './codec.js';
import { CompactDialect } from './compact-dialect.js';
import type { Dialect, ProtocolVersion } from './dialect.js';
import { now } from './envelope.js';
import { asciiJson, encodeTextFrame, type Frame } from './frame-writer.js';
import { PayloadCodec, type CodecChoice, type Payload } from './payload.js';
import { UndecidedDialect } from './undecided-dialect.js';
import { V1ClientDialect, V1ServerDialect } from './v1-dialect.js';
import { V2Dialect } from './v2-dialect.js';

/** What decides how an end speaks. */
export interface WireSettings {
  readonly accountId: string;
  readonly codec: CodecChoice;
  readonly bigint: boolean;
}

/** Version 2 as this end speaks it: to anybody, and to upgraded ends with what they share with it. */
class V2Dialects {
  readonly payloads: PayloadCodec;
  /** What this end lists of itself. */
  readonly capabilities: readonly string[];
  readonly plain: V2Dialect;
  private readonly compact: V2Dialect;
  /** Undefined without a codec. */
  private readonly packing: V2Dialect | undefined;
  private readonly compactPacking: V2Dialect | undefined;
  private readonly codecCapability: string | undefined;

  constructor({ codec, bigint }: WireSettings) {
    const payloads = new PayloadCodec(codec, bigint);
    this.payloads = payloads;
    this.plain = new V2Dialect(payloads, false);
    this.compact = new CompactDialect(payloads, false);
    const listed = [...CAPABILITIES, COMPACT];
    if (payloads.codec !== undefined) {
      this.packing = new V2Dialect(payloads, true);
      this.compactPacking = new CompactDialect(payloads, true);
      this.codecCapability = codecCapability(payloads.codec);
      listed.push(this.codecCapability);
    }
    this.capabilities = listed;
  }

  /** The one that says most in least. */
  get main(): Dialect {
    return this.compactPacking ?? this.compact;
  }

  /** For an upgraded end with these capabilities. */
  upgraded(capabilities: readonly string[]): Dialect {
    const { plain, compact, packing, compactPacking, codecCapability: codec } = this;
    const packs = codec !== undefined && capabilities.includes(codec);
    return capabilities.includes(COMPACT)
      ? ((packs ? compactPacking : undefined) ?? compact)
      : ((packs ? packing : undefined) ?? plain);
  }
}

/** What a server's greeting says beside the account. Upgraded clients read it, others ignore it. */
export interface Greeting {
  readonly conn_id: string;
  readonly caps: readonly string[];
  readonly max_frame_bytes: number;
}

/** The dialects of one server. */
export class ServerDialects {
  readonly v2: V2Dialects;
  /** For a client that has said nothing yet. */
  readonly first: Dialect;
  private readonly accountId: string;
  private readonly protocols: readonly ProtocolVersion[];

  constructor(
    settings: WireSettings & {
      readonly protocols: readonly ProtocolVersion[];
      readonly v1ResultInMessage: boolean;
    },
  ) {
    const { accountId, bigint, protocols, v1ResultInMessage } = settings;
    this.accountId = accountId;
    this.protocols = protocols;
    this.v2 = new V2Dialects(settings);
    const { plain, payloads } = this.v2;
    const v1 = new V1ServerDialect({ accountId, isExact: bigint, isResultRepeated: v1ResultInMessage });
    if (!protocols.includes('v1')) this.first = plain;
    else if (!protocols.includes('v2')) this.first = v1;
    else this.first = new UndecidedDialect(payloads, plain, v1, accountId);
  }

  /** The first frame of every connection, in a form that clients of all versions spoken here take for theirs. */
  greeting(details: Greeting): Frame {
    const accountId = asciiJson(this.accountId);
    const v1 = `"type":"register","account_id":${accountId}`;
    if (!this.protocols.includes('v2'))
      return encodeTextFrame(`{${v1},"data":`, `{"account_id":${accountId}}`, '}', Infinity);
    return encodeTextFrame(
      `{${this.protocols.includes('v1') ? `${v1},` : ''}"msg_type":"response","request_id":"","data":`,
      asciiJson({ account_id: this.accountId, ...details }),
      `,"timestamp":"${now()}","error":null}`,
      Infinity,
    );
  }
}

/** The dialects of one client. */
export class ClientDialects {
  readonly v2: V2Dialects;
  /** For a server that has not greeted yet. */
  readonly first: Dialect;

  constructor(
    settings: WireSettings & {
      readonly protocol: ProtocolVersion | 'auto';
      readonly awaitGreeting: boolean;
    },
  ) {
    const { accountId, bigint, protocol, awaitGreeting } = settings;
    this.v2 = new V2Dialects(settings);
    const { plain, payloads } = this.v2;
    const v1 = new V1ClientDialect({ accountId, isExact: bigint, isResultRepeated: false });
    // A server that does not greet does not tell what it speaks either.
    if (protocol === 'v2' || (protocol === 'auto' && !awaitGreeting)) this.first = plain;
    else if (protocol === 'v1') this.first = v1;
    else this.first = new UndecidedDialect(payloads, plain, v1, accountId);
  }

  /** A value for a server that is not known yet. @throws EncodeError */
  encode(value: unknown): Payload {
    return this.v2.payloads.encode(value);
  }
}

/** For those who only look who is there. */
export const ANY_SERVER: Dialect = new ClientDialects({
  accountId: '',
  codec: 'json',
  bigint: false,
  protocol: 'auto',
  awaitGreeting: true,
}).first;
