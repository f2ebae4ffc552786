"use strict";
// Asks the machine for its figures each second and shows them. What the machine says, names of
// the configuration among it, becomes text nodes here and never markup.

const SECONDS = 300; // as many as the machine keeps
const PAUSE_MS = 1000;
const PATIENCE_MS = 4000;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

// Writes only what changed, so that a selection stays.
function say(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
}

function show(node, is) {
  node.hidden = !is;
}

// --- numbers, for people ---

function scaled(value, unit) {
  // What changed is not known before the second look.
  if (Number.isNaN(value)) return "\u2013";
  const prefixes = ["", "k", "M", "G", "T"];
  let step = 0;
  while (value >= 999.5 && step < prefixes.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = step === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  const space = unit || step ? "\u00a0" : "";
  return value.toFixed(digits) + space + prefixes[step] + unit;
}
const bits = (bytes) => scaled(bytes * 8, "bit/s");
const bytes = (count) => scaled(count, "B");
function perSecond(count) {
  if (count > 0 && count < 9.95) return `${count.toFixed(1)}/s`;
  return Number.isNaN(count) ? scaled(count, "") : `${scaled(count, "")}/s`;
}
const count = (number) => Number(number).toLocaleString("en").replaceAll(",", "\u202f");

function time(seconds) {
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const days = Math.floor(seconds / 86400);
  const clock = `${two((seconds / 3600) % 24)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  return days ? `${days} d ${clock}` : clock;
}

// --- charts: one or two lines over the last minutes, all of one height ---

function chart(title, format) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 300 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const path = (name) => {
    const node = document.createElementNS(SVG, "path");
    node.setAttribute("class", name);
    svg.append(node);
    return node;
  };
  path("base").setAttribute("d", "M0 98H300");
  const area = path("area");
  const lines = [path("line0"), path("line1")];
  const [from, most] = [make("span"), make("span")];
  const node = make("figure", "", svg, make("figcaption", "", from, most));
  const update = (...all) => {
    const peak = Math.max(1e-9, ...all.flat());
    const seconds = Math.max(0, ...all.map((values) => values.length));
    // Of a machine that has just begun, one minute; of others, as much as is known.
    const shown = Math.min(SECONDS, Math.max(60, seconds));
    all.forEach((values, index) => {
      const step = 300 / (shown - 1);
      const start = 300 - (values.length - 1) * step;
      const points = values.map((value, at) => `${(start + at * step).toFixed(1)} ${(98 - (value / peak) * 92).toFixed(1)}`);
      const line = points.length > 1 ? "M" + points.join("L") : "";
      lines[index].setAttribute("d", line);
      if (index === 0) area.setAttribute("d", line && `${line}L300 98L${start.toFixed(1)} 98Z`);
    });
    say(from, shown % 60 ? `${Math.floor(shown / 60)} min ${shown % 60} s` : `${shown / 60} min`);
    say(most, "peak " + format(peak < 1e-6 ? 0 : peak));
  };
  return { node, update };
}

// Has `parent` show one node for each item, made once and found again by its key.
function keyed(parent, items, key, build) {
  parent.shown ??= new Map();
  const shown = new Map();
  for (const item of items) {
    const one = parent.shown.get(key(item)) ?? build(item);
    shown.set(key(item), one);
    one.update(item);
  }
  for (const [name, one] of parent.shown) if (shown.get(name) !== one) one.node.remove();
  let at = parent.firstChild;
  for (const { node } of shown.values()) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  parent.shown = shown;
}

// The same for a list that has a section of the page, which is there while anything is in it.
function section(list, items, key, build) {
  keyed(list, items, key, build);
  show(list.closest("section"), items.length > 0);
}

function pill(node, text, kind) {
  say(node, text);
  node.className = "pill " + kind;
}

// Terms with what they are, of which the values change.
function facts(parent, all) {
  parent.terms ??= new Map();
  for (const [term, value] of all) {
    let node = parent.terms.get(term);
    if (!node) {
      node = make("dd");
      parent.terms.set(term, node);
      parent.append(make("div", "", make("dt", "", term), node));
    }
    say(node, value);
  }
}

function meter() {
  const bar = make("i");
  const node = make("div", "meter", bar);
  const update = (share, kind = "") => {
    bar.style.width = `${Math.min(100, share * 100)}%`;
    node.className = "meter " + kind;
  };
  return { node, update };
}

// --- what is known: the last figures, what changed since those before, and the last minutes ---

let last = null;
let past = null; // { nics: Map name -> { in, out, dropped, passed }, flows, opened }

const recent = (values, value) => [...values, value].slice(-SECONDS);
const sum = (lists) => lists.reduce((all, list) => all.map((value, at) => value + (list[at] ?? 0)), new Array(Math.max(0, ...lists.map((list) => list.length))).fill(0));
const now = (values) => values.at(-1) ?? 0;

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function learn(status) {
  const seconds = last ? (status.uptime_us - last.uptime_us) / 1e6 : -1;
  if (!past || seconds < 0 || seconds > 2.5) {
    // Just opened, or away for a while: the machine has kept what was.
    const kept = await ask("/history.json");
    past = { ...kept, nics: new Map(kept.nics.map((nic) => [nic.name, nic])) };
    last = null;
    return {};
  }
  const rate = (new_, old) => Math.max(0, (new_ - (old ?? new_)) / seconds);
  const find = (list, name) => list.find((one) => one.name === name);
  for (const interface_ of status.interfaces) {
    const [nic, before] = [find(status.nics, interface_.name), find(last.nics, interface_.name)];
    const old = find(last.interfaces, interface_.name);
    const of = past.nics.get(interface_.name) ?? { in: [], out: [], dropped: [], passed: [] };
    past.nics.set(interface_.name, of);
    if (!nic) continue;
    of.in = recent(of.in, rate(nic.rx.bytes, before?.rx.bytes));
    of.out = recent(of.out, rate(nic.tx.bytes, before?.tx.bytes));
    of.dropped = recent(of.dropped, rate(interface_.dropped, old?.dropped));
    of.passed = recent(of.passed, rate(interface_.forwarded, old?.forwarded));
  }
  if (status.flows) {
    past.flows = recent(past.flows, status.flows.current);
    past.opened = recent(past.opened, rate(status.flows.opened, last.flows?.opened));
  }
  return { rate, find };
}

// --- the parts of the page ---

function tile(title, format, name) {
  const [value, note, bar] = [make("p", "value"), make("p", "note"), meter()];
  const { node: figure, update } = chart(title, format);
  const node = make("div", "tile", make("h3", "", title), value, note, figure);
  node.id = name;
  return { node, value, note, bar, draw: update };
}

function drawTiles(status) {
  const nics = [...past.nics.values()].filter((nic) => status.interfaces.some((one) => one.name === nic.name));
  const all = (which) => sum(nics.map((nic) => nic[which] ?? []));
  const tiles = [
    { name: "traffic", title: "Traffic, in and out", format: bits, lines: [all("in"), all("out")], value: (lines) => `${bits(now(lines[0]))} in`, note: (lines) => `${bits(now(lines[1]))} out` },
    { name: "passed", title: "Packets passed on", format: perSecond, lines: [all("passed")], note: () => `${count(status.interfaces.reduce((sum, one) => sum + one.forwarded, 0))} in all` },
  ];
  if (status.flows) {
    const { current, limit, refused } = status.flows;
    const share = current / Math.max(1, limit);
    tiles.push({ name: "flows", title: "Flows", format: count, lines: [past.flows], value: () => count(current), note: () => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} % of ${count(limit)}`, share });
    tiles.push({ name: "opened", title: "New flows", format: perSecond, lines: [past.opened], note: () => `${count(status.flows.opened)} in all, ${count(refused)} refused` });
  }
  tiles.push({ name: "dropped", title: "Drops", format: perSecond, lines: [all("dropped")], note: () => `${count(status.interfaces.reduce((sum, one) => sum + one.dropped, 0))} in all` });
  section(byId("tiles"), tiles, (one) => one.name, (one) => {
    const made = tile(one.title, one.format, one.name);
    if (one.share !== undefined) made.node.append(made.bar.node);
    made.update = ({ lines, value, note, share, format }) => {
      say(made.value, value ? value(lines) : format(now(lines[0])));
      say(made.note, note(lines));
      made.draw(...lines);
      if (share !== undefined) made.bar.update(share, share > 0.9 ? "bad" : share > 0.7 ? "warn" : "");
    };
    return made;
  });
}

function buildInterface() {
  const [title, state, addresses] = [make("h3"), make("span"), make("p", "note")];
  const [received, sent] = [make("b"), make("b")];
  const { node: figure, update: draw } = chart("Traffic of the last minutes", bits);
  const counts = make("dl", "counts");
  const rates = make("p", "pair", make("span", "in", received, " in"), make("span", "out", sent, " out"));
  const node = make("article", "card", make("div", "head", title, state), addresses, rates, figure, counts);
  const update = ({ one, nic, kept }) => {
    say(title, one.name);
    const speed = nic?.mbps ? ` ${scaled(nic.mbps * 1e6, "bit/s")}` : "";
    if (nic?.fault) pill(state, "out of order", "bad");
    else pill(state, one.is_up ? `up${speed}` : "down", one.is_up ? "good" : "bad");
    say(addresses, nic?.fault ?? (one.addresses.join(", ") || "no address"));
    say(received, bits(now(kept.in)));
    say(sent, bits(now(kept.out)));
    draw(kept.in, kept.out);
    facts(counts, [
      ["received", scaled(one.received, "")],
      ["passed on", scaled(one.forwarded, "")],
      ["dropped", scaled(one.dropped, "")],
      ["drops now", perSecond(now(kept.dropped))],
      ["MTU", one.mtu],
      ["device", nic?.driver ?? "none"],
    ]);
  };
  return { node, update };
}

const KINDS = { UP: "good", DOWN: "bad", DRAIN: "warn", MAINT: "warn" };

function buildServer(columns) {
  const [name, address] = [make("span"), make("span", "note")];
  const [state, check, why] = [make("span"), make("span"), make("span", "note")];
  const cells = columns.map((column) => {
    const [text, cell] = [make("span"), make("td", "n")];
    cell.dataset.label = column;
    cell.append(text);
    return [text, cell];
  });
  const node = make("tr", "", make("td", "", name, address), make("td", "", state, " ", check, why), ...cells.map(([, cell]) => cell));
  const update = ({ server, before, rate }) => {
    say(name, server.name);
    say(address, server.name === server.address ? "" : server.address);
    pill(state, server.status, KINDS[server.status] ?? "");
    say(check, server.check_duration_ms == null ? server.check_status : `${server.check_status} ${server.check_duration_ms}\u00a0ms`);
    say(why, server.check_error ?? "");
    const ramp = server.ramp_percent < 100 ? ` (${server.ramp_percent} %)` : "";
    const of = (key) => (rate ? rate(server[key], before?.[key]) : NaN);
    const values = [server.weight + ramp, count(server.current_sessions), perSecond(of("sessions_total")), bits(of("bytes_in_total") + of("bytes_out_total"))];
    cells.forEach(([text], index) => say(text, values[index]));
  };
  return { node, update };
}

function buildService() {
  const columns = ["Weight", "Now", "New", "Traffic"];
  const [title, state, what] = [make("h3"), make("span"), make("p", "note")];
  const body = make("tbody");
  const headings = [make("th", "", "Server"), make("th", "", "State, last check"), ...columns.map((column) => make("th", "n", column))];
  const counts = make("dl", "counts");
  const table = make("table", "", make("thead", "", make("tr", "", ...headings)), body);
  const node = make("article", "card", make("div", "head", title, state), what, table, counts);
  const update = ({ service, before, rate }) => {
    say(title, service.name);
    const { active_servers: active, servers } = service;
    pill(state, `${active} of ${servers.length} up`, active === 0 ? "bad" : active < servers.length ? "warn" : "good");
    say(what, `${service.protocol} ${service.listen}, ${service.mode}, ${service.algorithm}`);
    const rows = servers.map((server) => ({ server, rate, before: before?.servers.find((one) => one.name === server.name) }));
    keyed(body, rows, (row) => row.server.name, () => buildServer(columns));
    const of = (key) => (rate ? rate(service[key], before?.[key]) : NaN);
    facts(counts, [
      ["sessions", count(service.current_sessions)],
      ["new", perSecond(of("sessions_total"))],
      ["in", bits(of("bytes_in_total"))],
      ["out", bits(of("bytes_out_total"))],
      ["sessions in all", scaled(service.sessions_total, "")],
      ["bytes in all", bytes(service.bytes_in_total + service.bytes_out_total)],
      ["refused", count(service.refused_total)],
    ]);
    if (service.ports_free != null) facts(counts, [["ports free", count(service.ports_free)]]);
  };
  return { node, update };
}

const ROLES = { active: "good", backup: "", fault: "bad" };

function buildShared() {
  const [title, state, counts] = [make("h3"), make("span"), make("dl", "counts")];
  const node = make("article", "card", make("div", "head", title, state), counts);
  const update = (one) => {
    say(title, one.addresses.join(", "));
    pill(state, one.state, ROLES[one.state] ?? "warn");
    facts(counts, [
      ["on", `${one.interface}, id ${one.id}`],
      ["priority", one.priority],
      ["moves with", one.sync ?? "nothing else"],
      ["became active", count(one.became_active)],
      ["others active too", count(one.rivals)],
    ]);
  };
  return { node, update };
}

function drawDrops(status) {
  const all = status.interfaces.flatMap((one) => Object.entries(one.drops).map(([reason, frames]) => ({ key: `${one.name} ${reason}`, where: one.name, reason, frames })));
  const rows = all.filter((row) => row.frames > 0).sort((one, other) => other.frames - one.frames);
  const most = rows[0]?.frames ?? 1;
  byId("drops").classList.add("rows");
  section(byId("drops"), rows, (row) => row.key, ({ where, reason }) => {
    const [frames, bar] = [make("span"), meter()];
    const name = make("span", "", reason.replaceAll("_", " "), " ", make("span", "note", where));
    return { node: make("div", "", name, bar.node, frames), update: (row) => { say(frames, count(row.frames)); bar.update(row.frames / most); } };
  });
}

function draw(status, { rate, find }) {
  pill(byId("state"), status.ready ? "ready" : "not ready", status.ready ? "good" : "bad");
  const known = [["up", time(status.uptime_us / 1e6)], ["build", status.build ?? status.version], ["neighbours", status.neighbours.known], ["routes", status.routes], ["frames free", `${count(status.pool_free)} of ${count(status.pool_frames)}`]];
  if (status.time) known.push(["time", status.time.utc ? `${status.time.utc.slice(0, 19).replace("T", " ")} UTC` : "not known"]);
  facts(byId("facts"), known);
  const troubles = byId("troubles");
  if (troubles.said !== status.troubles.join("\n")) {
    troubles.said = status.troubles.join("\n");
    troubles.replaceChildren(...status.troubles.map((trouble) => make("li", "", trouble)));
  }
  show(troubles, status.troubles.length > 0);
  drawTiles(status);
  const services = (status.services ?? []).map((service) => ({ service, rate, before: find && find(last.services ?? [], service.name) }));
  section(byId("services"), services, (one) => one.service.name, buildService);
  section(byId("shared"), status.vrrp ?? [], (one) => `${one.interface} ${one.id} ${one.version}`, buildShared);
  const empty = { in: [], out: [], dropped: [], passed: [] };
  const interfaces = status.interfaces.map((one) => ({ one, nic: status.nics.find((nic) => nic.name === one.name), kept: past.nics.get(one.name) ?? empty }));
  section(byId("interfaces"), interfaces, ({ one }) => one.name, buildInterface);
  drawDrops(status);
  const settings = status.configuration.map((setting, at) => ({ ...setting, at }));
  section(byId("configuration"), settings, ({ key, at }) => `${at} ${key}`, ({ key, value, origin }) => ({ node: make("div", "", make("dt", "", key), make("dd", "", value), make("dd", "note", origin)), update() {} }));
}

// --- once a second ---

let answered = Date.now();

function heard(is) {
  document.body.classList.toggle("stale", !is);
  show(byId("silence"), !is);
  document.title = (is ? "" : "no answer: ") + location.host + " Paravane";
  if (is) answered = Date.now();
  else {
    say(byId("silence"), `No answer for ${Math.round((Date.now() - answered) / 1000)} s. What is below was so at ${new Date(answered).toLocaleTimeString()}.`);
    pill(byId("state"), "no answer", "bad");
  }
}

async function look() {
  let status, changes;
  try {
    status = await ask("/status.json");
    changes = await learn(status);
  } catch {
    return heard(false);
  }
  heard(true);
  draw(status, changes);
  last = status;
}

function turn() {
  const start = Date.now();
  // Nobody looks at a page that is hidden; shown again, it asks for what was meanwhile.
  const looked = document.hidden ? Promise.resolve() : look();
  looked.finally(() => setTimeout(turn, Math.max(100, PAUSE_MS - (Date.now() - start))));
}

turn();
