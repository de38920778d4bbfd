"""The page in the browser, made with viser: it tells the studio what is looked at, and shows what the studio renders.

    page        the server, and what stands where
    visitors    who looks: a camera each, to which pictures are delivered
    times       the time that each looks at, of what moves
    picture     what is shown of the model
    cameras     those of the scene, drawn and jumped to
    path        a camera path that is made, played and saved
    poses       cameras as viser has them

Callbacks run in threads of the web server. They note wishes, and render nothing.
"""

from .page import Page

__all__ = ["Page"]
