"""What a browser is given before the terminal takes over: the page around it, the question for the key, refusals."""

from html import escape

_STYLE = """
@font-face { font-family: "Roboto Mono"; src: url("/static/fonts/RobotoMono-VariableFont_wght.ttf"); }
html, body { margin: 0; height: 100%; background: #101418; color: #d0d4da; font: 16px "Roboto Mono", monospace; }
.textual-terminal { position: absolute; inset: 0; }
.said { position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; text-align: center; }
.over { display: none; background: #101418; z-index: 20; }
body.-closed .over { display: flex; }
.said > * { max-width: 36em; padding: 2em; }
a { color: #6cbbe8; }
input, button { font: inherit; padding: 0.4em 0.6em; border: 1px solid #7d8794; background: #1f262e; color: inherit; }
p { line-height: 1.5; }
.bad { color: #ff8080; }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>holdfast</title>
<style>{style}</style>{head}</head><body>{body}</body></html>
"""


def terminal(websocket: str, *, size: int) -> str:
    """The page that becomes a terminal. `websocket`: where it speaks to us; `size`: of its letters, in pixels."""
    head = '<link rel="stylesheet" href="/static/css/xterm.css"><script src="/static/js/textual.js"></script>'
    body = (
        '<div class="said over"><div><p>This session has ended.</p><p><a href="/">Begin another</a></p></div></div>'
        f'<div class="textual-terminal" data-session-websocket-url="{escape(websocket)}" data-font-size="{size}"></div>'
    )
    return _page(body, head=head)


def question(wrong: bool) -> str:
    """Asks for the key. `wrong`: the last one was."""
    return _page(
        '<div class="said"><form method="post" action="/key"><h1>holdfast</h1>'
        f'<p class="bad">{"That is not the key." if wrong else ""}</p>'
        '<p><label>The key: <input type="password" name="key" autocomplete="current-password" autofocus></label> '
        "<button>Enter</button></p></form></div>"
    )


def refusal(why: str) -> str:
    """Why not, in words."""
    return _page(f'<div class="said"><p>{escape(why)}</p></div>')


def _page(body: str, *, head: str = "") -> str:
    return _PAGE.format(style=_STYLE, head=head, body=body)
