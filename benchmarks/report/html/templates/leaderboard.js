const root = document.documentElement;
const filters = document.querySelector(".filters");
const plots = [...document.querySelectorAll(".plot")];
const figures = document.getElementById("plots").textContent;
const tables = [];
const shown = new Set();

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function colored() {
  const style = getComputedStyle(root);
  return JSON.parse(figures.replace(/"var\((--\w+)\)"/g, (_, name) => JSON.stringify(style.getPropertyValue(name))));
}

function draw(...wanted) {
  const all = colored();
  for (const plot of wanted) {
    if (plot.closest("[hidden]")) continue;
    const { data, layout } = all[plot.dataset.figure];
    const names = data.filter(trace => trace.type === "scatter" && trace.showlegend !== false).length;
    if (plot.clientWidth < 520 && names > 1) {
      layout.height += 19 * names;
      layout.legend = { ...layout.legend, orientation: "h", y: -0.2, yanchor: "top" };
    }
    if (layout.xaxis.tickangle) {
      const step = Math.ceil(18 * layout.xaxis.tickvals.length / Math.max(90, plot.clientWidth - 180));
      for (const name of ["tickvals", "ticktext"]) layout.xaxis[name] = layout.xaxis[name].filter((_, n) => n % step === 0);
    }
    for (const trace of data)
      if (trace.meta?.rows && !trace.meta.rows.some(key => shown.has(key))) trace.visible = false;
    plot.style.height = "";
    Plotly.react(plot, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    plot.dataset.drawn = "yes";
  }
}

const redraw = () => draw(...plots.filter(plot => plot.dataset.drawn));

function filter() {
  const wanted = Object.fromEntries([...filters.elements].map(e => [e.name, e.type === "checkbox" ? e.checked && "yes" : e.value]));
  const fits = (element, ...names) => names.every(name => !wanted[name] || element.dataset[name] === wanted[name]);
  let all = 0;
  for (const section of document.querySelectorAll("section.suite")) {
    const boards = [...section.querySelectorAll(".board")];
    for (const board of boards) board.hidden = !fits(board, "target");
    section.hidden = !fits(section, "suite", "ranking") || (wanted.target && boards.every(board => board.hidden));
  }
  shown.clear();
  for (const table of tables) {
    table.search.fixed("page", (text, data, index) => fits(table.row(index).node(), "criterion", "compensation", "complete")).draw();
    all += table.rows().count();
    if (!table.table().node().closest("[hidden]"))
      table.rows({ search: "applied" }).nodes().each(row => shown.add(row.dataset.key));
  }
  filters.querySelector("output").textContent = `${shown.size} of ${all} rows`;
  redraw();
}

async function start() {
  const url = URL.createObjectURL(new Blob([await unpacked("datatables")], { type: "text/javascript" }));
  const { default: DataTable } = await import(url);
  const compare = sign => (a, b) => a === b ? 0 : a === "" ? 1 : b === "" ? -1 : sign * (a - b);
  DataTable.type("blank-last", { order: { asc: compare(1), desc: compare(-1) } });
  for (const node of document.querySelectorAll("table.sortable")) {
    const box = node.parentElement;
    tables.push(new DataTable(node, {
      paging: false, info: false, autoWidth: false, order: [],
      columnDefs: [{ targets: "number", type: "blank-last" }],
      layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null, top1Start: { buttons: [{ extend: "colvis", text: "Columns" }, { extend: "csv", text: "Save as CSV" }] } },
    }));
    // Only the table scrolls, because the list of its buttons would be cut off.
    for (const name of ["class", "role", "aria-label", "tabindex"]) {
      node.parentElement.setAttribute(name, box.getAttribute(name));
      box.removeAttribute(name);
    }
  }
  filter();
  filters.addEventListener("change", filter);
  filters.addEventListener("reset", () => setTimeout(filter));
  root.dataset.ready = "tables";
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => { root.classList.add("paper"); draw(...plots); });
  addEventListener("afterprint", () => { root.classList.remove("paper"); redraw(); });
  // A page can have a hundred charts: each is drawn when it is about to be visible.
  const near = new IntersectionObserver(entries => {
    const here = entries.filter(entry => entry.isIntersecting && !entry.target.dataset.drawn).map(entry => entry.target);
    if (here.length) draw(...here);
  }, { rootMargin: "600px" });
  plots.forEach(plot => near.observe(plot));
  root.dataset.ready = "plots";
}
if (window.DecompressionStream) { root.classList.add("js"); start(); }
