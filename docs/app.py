"""A store in the browser, renewed as runs finish: ``marimo run docs/app.py -- --store results/flip-flop``."""

import marimo

app = marimo.App(width="medium", app_title="attnlab")


@app.cell
def start():
    import marimo as mo

    import attnlab

    store = mo.ui.text(value=str(mo.cli_args().get("store") or "results"), label="store")
    refresh = mo.ui.refresh(options=["10s", "1m"], label="read it again")
    mo.hstack([store, refresh], justify="start")
    return attnlab, mo, refresh, store


@app.cell
def load(attnlab, mo, refresh, store):
    refresh.value  # this cell runs again when it changes
    try:
        records = attnlab.load_records(store.value)
    except attnlab.AttnlabError as error:
        mo.stop(True, mo.callout(mo.plain_text(str(error)), kind="danger"))
    mo.stop(not records, mo.callout("No run is finished yet."))
    names = sorted({record.spec.variant for record in records})
    chosen = mo.ui.multiselect(names, value=names, label="variants")
    chosen
    return chosen, records


@app.cell
def compare(attnlab, chosen, mo, records):
    shown = type(records)(record for record in records if record.spec.variant in chosen.value)
    mo.stop(not shown, mo.callout("Choose a variant."))
    report = attnlab.report(shown)
    mo.vstack([report.plot(), mo.ui.tabs({"report": report, "runs": shown, "learning curves": shown.plot()})])
    return (shown,)


@app.cell
def choose(mo, shown):
    labels = {f"{record.id}  {record.spec.summary}": record for record in shown if record.status == "done"}
    run = mo.ui.dropdown(labels, label="look inside")
    run
    return (run,)


@app.cell
def inside(attnlab, mo, run, store):
    mo.stop(run.value is None)
    attnlab.diagnose(run.value.id, only=["cosine", "effective-rank"], attention_map="1.1", store=store.value).plot()


if __name__ == "__main__":
    app.run()
