"""What a browser is given before the terminal takes over: the page around it, the question for the key, refusals."""

from html import escape

_STYLE = """
@font-face { font-family: "Roboto Mono"; src: url("/static/fonts/RobotoMono-VariableFont_wght.ttf"); }
html, body { margin: 0; height: 100%; background: var(--ground); color: var(--ink); }
html, body { font: 16px "Roboto Mono", monospace; }
.textual-terminal { position: absolute; inset: 0; }
.xterm, .xterm .xterm-viewport { background-color: var(--ground) !important; }
.said { position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; text-align: center; }
.over { display: none; background: var(--ground); z-index: 20; }
body.-closed .over { display: flex; }
.said > * { max-width: 36em; padding: 2em; }
a { color: var(--accent); }
input, button { font: inherit; padding: 0.4em 0.6em; border: 1px solid var(--dim); }
input, button { background: var(--panel); color: inherit; }
p { line-height: 1.5; }
.bad { color: var(--bad); }
"""
COLOURS = {
    "dark": {
        "ground": "#101418",
        "ink": "#d0d4da",
        "panel": "#1f262e",
        "dim": "#7d8794",
        "accent": "#6cbbe8",
        "bad": "#ff8080",
    },
    "light": {
        "ground": "#fbfbf9",
        "ink": "#22272e",
        "panel": "#e8e8e4",
        "dim": "#666e78",
        "accent": "#0b6aa2",
        "bad": "#b8262e",
    },
}
"""Those of the dashboard's themes, so that nothing stands out around it."""
COLOURS["ansi"] = COLOURS["dark"] | {"ground": "#000000"}  # the terminal's own
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>holdfast</title>
<style>{style}</style>{head}</head><body>{body}</body></html>
"""


def terminal(websocket: str, *, size: int, theme: str) -> str:
    """The page that becomes a terminal. `websocket`: where it speaks to us; `size`: of its letters, in pixels."""
    head = '<link rel="stylesheet" href="/static/css/xterm.css"><script src="/static/js/textual.js"></script>'
    body = (
        '<div class="said over"><div><p>This session has ended.</p><p><a href="/">Begin another</a></p></div></div>'
        f'<div class="textual-terminal" data-session-websocket-url="{escape(websocket)}" data-font-size="{size}"></div>'
    )
    return _page(body, theme, head=head)


def question(*, wrong: bool, theme: str) -> str:
    """Asks for the key. `wrong`: the last one was."""
    return _page(
        '<div class="said"><form method="post" action="/key"><h1>holdfast</h1>'
        f'<p class="bad">{"That is not the key." if wrong else ""}</p>'
        '<p><label>The key: <input type="password" name="key" autocomplete="current-password" autofocus></label> '
        "<button>Enter</button></p></form></div>",
        theme,
    )


def refusal(why: str, *, theme: str) -> str:
    """Why not, in words."""
    return _page(f'<div class="said"><p>{escape(why)}</p></div>', theme)


def _page(body: str, theme: str, *, head: str = "") -> str:
    named = " ".join(f"--{name}: {colour};" for name, colour in COLOURS[theme].items())
    return _PAGE.format(style=f"\n:root {{ {named} }}{_STYLE}", head=head, body=body)
