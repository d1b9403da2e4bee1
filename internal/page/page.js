"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = [];
  const short = v => {
    if (v === 0) return "0";
    const a = Math.abs(v);
    if (a >= 1e6 || a < 1e-3) return v.toExponential(0).replace("e+", "e");
    return String(+v.toPrecision(4));
  };
  const draw = () => {
    for (const p of plots.splice(0)) p.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = name => style.getPropertyValue("--" + name).trim();
    const strokes = ["one", "two", "three", "four"].map(colour);
    for (const div of document.querySelectorAll(".chart")) {
      const c = JSON.parse(div.dataset.chart);
      const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
      // Powers of ten, with twos and fives if there are few.
      const decades = (u, i, min, max) => {
        const low = Math.floor(Math.log10(min)), high = Math.ceil(Math.log10(max)), step = Math.ceil((high - low) / 8), all = [];
        for (let e = low; e <= high; e += step) for (const m of high - low > 3 ? [1] : [1, 2, 5]) all.push(m * 10 ** e);
        return all.filter(v => v >= min && v <= max);
      };
      const whole = c.x.every(Number.isInteger);
      const marks = u => {
        if (!c.marked) return;
        const x = u.valToPos(c.marked, "x", true);
        u.ctx.save();
        u.ctx.strokeStyle = colour("good");
        u.ctx.setLineDash([4, 4]);
        u.ctx.beginPath();
        u.ctx.moveTo(x, u.bbox.top);
        u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
        u.ctx.restore();
      };
      plots.push(new uPlot({
        width: div.clientWidth, height: 280,
        scales: { x: { time: c.time }, y: { distr: c.log ? 3 : 1 } },
        axes: [
          { ...axis, label: c.xname, ...(whole && !c.time ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e4, 1e5, 1e6] } : {}), ...(c.time ? {} : { values: (u, all) => all.map(v => short(v)) }) },
          { ...axis, label: c.yname, size: 64, ...(c.log ? { splits: decades, filter: (u, all) => all } : {}), values: (u, all) => all.map(v => v == null ? "" : short(v)) },
        ],
        series: [
          { label: c.xname || "x" },
          ...c.lines.map((l, i) => ({
            label: l.name, stroke: l.tone ? colour(l.tone) : strokes[i % strokes.length], width: 2, dash: l.dash ? [6, 5] : undefined,
            points: { show: c.x.length < 40 && !l.dash }, value: (u, v) => v == null ? "-" : short(v),
            paths: c.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
          })),
        ],
        legend: { live: false }, fmtDate: tpl => uPlot.fmtDate(tpl.replace("{h}:{mm}{aa}", "{HH}:{mm}").replace("{M}/{D}/{YY}", "{YYYY}-{MM}-{DD}").replace("{M}/{D}", "{MM}-{DD}").replace("{h}{aa}", "{HH}:00")),
        hooks: { draw: [marks] },
      }, [c.x, ...c.lines.map(l => l.y)], div));
    }
  };
  draw();
  dark.addEventListener("change", draw);
  let late;
  addEventListener("resize", () => { clearTimeout(late); late = setTimeout(draw, 100); });
})();
