/** What every contestant's server answers, under these names (Nest controllers: see nest-peer.mjs). */
export const handlers = {
  echo: (data) => data,
};
