"""A table and a chart of what was measured."""

from html import escape

COLOURS = {"resetgate": "#1b6ca8", "resetgate, logging": "#7fb2d9", "bare Pingora": "#e07a1f", "nginx": "#3a9d5d",
           "HAProxy": "#8a63b8"}


def summary(loads, clients):
    """What is asked a second, and what one takes of a processor: a row for each load, a column for each who was asked."""
    names = [name for name in COLOURS if any(subject.name == name for load in loads for subject in load.subjects)]
    yield f"| {clients} clients | {' | '.join(names)} |"
    yield "|---" * (1 + len(names)) + "|"
    for load in loads:
        asked, cells = {subject.name for subject in load.subjects}, []
        for name in names:
            run = load.medians(name, clients) if name in asked else None
            cells.append(f"{run.rate:,.0f}/s, {run.used:.1f} µs" if run else "")
        yield f"| {load.name} | {' | '.join(cells)} |"


def rows(loads, clients):
    yield "| what is asked | clients | of whom | a second | least–most | µs of processor | p50 µs | p99 µs | p99.9 µs | rate beside | processor beside |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for load in loads:
        for count in clients:
            for subject in load.subjects:
                run, (least, most) = load.medians(subject.name, count), load.spread(subject.name, count)
                beside = ["", ""]
                if load.than and subject is not load.than:
                    beside = [f"{load.beside(subject.name, load.than.name, count, field):.2f}" for field in ("rate", "used")]
                yield (f"| {load.name} | {count} | {subject.name} | {run.rate:,.0f} | {least:,.0f}–{most:,.0f} | {run.used:.1f} | "
                       f"{run.p50:,.0f} | {run.p99:,.0f} | {run.p999:,.0f} | {beside[0]} | {beside[1]} |")


def sizes(found):
    yield "| what it takes | | target | |"
    yield "|---|---|---|---|"
    for size in found:
        target = "" if size.most is None else f"{size.most:g} {size.unit}"
        yield f"| {size.what} | {size.value:,.1f} {size.unit} | {target} | {size.verdict()} |"


def chart(loads, clients, about):
    """A bar for each, as long as what it takes of a processor for a request, with a line from its least to its most."""
    drawn, y = [], 60
    for load in loads:
        drawn.append(f'<text x="10" y="{y + 12}" font-weight="bold">{escape(load.name)}</text>')
        y += 22
        used = {subject.name: load.medians(subject.name, clients).used for subject in load.subjects}
        spreads = {name: load.spread(name, clients, "used") for name in used}
        scale = 420 / max(most for _, most in spreads.values())
        for name, value in used.items():
            least, most = (150 + end * scale for end in spreads[name])
            drawn.append(f'<text x="140" y="{y + 12}" text-anchor="end">{name}</text>'
                         f'<rect x="150" y="{y}" width="{value * scale:.0f}" height="15" fill="{COLOURS[name]}"/>'
                         f'<path d="M{least:.0f} {y + 7.5}H{most:.0f}" stroke="black"/>'
                         f'<text x="{most + 6:.0f}" y="{y + 12}">{value:.1f}</text>')
            y += 19
        y += 12
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{y}" font-family="sans-serif" font-size="12">'
            f'<rect width="680" height="{y}" fill="white"/><text x="10" y="20" font-size="15">Microseconds of one processor '
            f'for a request or a whole reset, {clients} clients</text><text x="10" y="40" font-size="10">{escape(about)}</text>'
            + "".join(drawn) + "</svg>\n")
