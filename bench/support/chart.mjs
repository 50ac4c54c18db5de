import { BASELINE_ID, PEER_IDS } from '../peers/index.mjs';

const WIDTH = 960;
const BAR_PX = 9;
const FRAME_PX = 170;

/**
 * The ratios to the baseline as bars on a logarithmic scale, drawn as SVG.
 * @param {object} report as in the JSON file
 */
export async function toChart({ scenarios, titles }) {
  // Only here: a run without it need not load a megabyte of drawing.
  const { init } = await import('echarts');
  const cases = Object.values(scenarios).flatMap((scenario) =>
    scenario.cases.filter(({ rows }) => rows.some(({ toBaseline }) => toBaseline !== undefined)),
  );
  const peers = PEER_IDS.filter((id) => id !== BASELINE_ID && id in titles);
  const height = FRAME_PX + cases.length * (peers.length * BAR_PX + 14);
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  const scenarioOf = (id) =>
    Object.values(scenarios).find(({ cases: all }) => all.some((one) => one.id === id));
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: {
      text: `How many times ${titles[BASELINE_ID]}`,
      subtext: 'medians of ratios within a round, logarithmic scale; longer is faster',
      left: 'center',
    },
    textStyle: { fontFamily: 'sans-serif' },
    // Fonts differ from reader to reader: room for wider ones.
    legend: { bottom: 0, itemWidth: 14, itemGap: 24, textStyle: { fontSize: 11, width: 190 } },
    grid: { left: 300, right: 40, top: 60, bottom: 110 },
    xAxis: { type: 'log', min: 0.1, axisLabel: { formatter: '{value}x' } },
    yAxis: {
      type: 'category',
      inverse: true,
      axisLabel: { fontSize: 11, width: 220, overflow: 'break', lineHeight: 14 },
      data: cases.map(({ id, title }) => `${scenarioOf(id).title.split(/ \(|,/, 1)[0]}: ${title}`),
    },
    series: peers.map((id) => ({
      name: titles[id],
      type: 'bar',
      barGap: '0%',
      data: cases.map(
        ({ rows }) => rows.find(({ peer }) => peer === id)?.toBaseline?.median.toFixed(2) ?? null,
      ),
      markLine:
        id === peers[0]
          ? { symbol: 'none', silent: true, label: { show: false }, data: [{ xAxis: 1 }] }
          : undefined,
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
