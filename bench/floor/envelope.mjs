// The five keys of a MessageBody, written around the JSON of the payload.

let cachedMs = 0;
let cachedText = '';

/** Local time without zone, six decimals, as the protocol has it; made anew once per millisecond. */
function timestamp() {
  const now = Date.now();
  if (now !== cachedMs) {
    cachedMs = now;
    const offsetMs = new Date(now).getTimezoneOffset() * 60_000;
    cachedText = `${new Date(now - offsetMs).toISOString().slice(0, -1)}000`;
  }
  return cachedText;
}

/** @param {string} id needs no escaping, here and below */
export function requestText(id, type, json) {
  return `{"msg_type":"request","request_id":"${id}","data":{"type":"${type}","data":${json}},"timestamp":"${timestamp()}","error":null}`;
}

export function pushText(type, json) {
  return `{"msg_type":"push","request_id":"","data":{"type":"${type}","data":${json}},"timestamp":"${timestamp()}","error":null}`;
}

/** @param {string} [extras] further keys, each as `,"key":value` */
export function responseText(id, json, extras = '') {
  return `{"msg_type":"response","request_id":"${id}","data":${json},"timestamp":"${timestamp()}","error":null${extras}}`;
}
