import { idJson } from './envelope.js';
import { asciiJson, encodeTextFrame, type Frame } from './frame-writer.js';

/** Version 1's messages: no timestamps, no errors of their own, and a push has no id. */

export function encodeV1Request(id: string, type: string, json: string, maxFrameBytes: number): Frame {
  return encodeTextFrame(`{"type":${asciiJson(type)},"request_id":"${id}","data":`, json, '}', maxFrameBytes);
}

/**
 * @param isRepeated whether the result also stands in `message`, where the later V1 client looks for it: that one fails
 * at every ordinary result
 */
export function encodeV1Response(
  id: unknown,
  json: string,
  isRepeated: boolean,
  maxFrameBytes: number,
): Frame {
  const head = `{"type":"response","request_id":${idJson(id)},"status":"success","data":`;
  return isRepeated
    ? encodeTextFrame(head, `${json},"message":{"data":${json}`, '}}', maxFrameBytes)
    : encodeTextFrame(head, json, ',"message":""}', maxFrameBytes);
}

/** The text stands twice: one V1 client fails where `data` is null, and people look for it in `message`. */
export function encodeV1Failure(id: unknown, text: string): Frame {
  const json = asciiJson(text === '' ? 'Unknown error' : text);
  return encodeTextFrame(
    `{"type":"response","request_id":${idJson(id)},"status":"error","data":{"message":`,
    `${json}},"message":${json}`,
    '}',
    Infinity,
  );
}

/** @param extras keys with which it means something to V2 peers too, as a JSON fragment */
export function encodeV1Push(
  type: string,
  accountId: string,
  json: string,
  extras: string,
  maxFrameBytes: number,
): Frame {
  return encodeTextFrame(
    `{"type":${asciiJson(type)},"account_id":${asciiJson(accountId)},"data":`,
    json,
    `${extras}}`,
    maxFrameBytes,
  );
}
