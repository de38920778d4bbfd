"""A trained field, or one in training, to be turned with the mouse in a browser.

    look          what somebody wants to see, and the cameras that see it
    pace          how large the next picture is, and when it is due: small while the camera moves, growing when it rests
    door          from a look to a picture, of anything that `models.views` renders
    studio        who looks, whose turn it is, and what a move breaks off
    sharing       pictures between the steps of a training
    following     a run that somebody else is still writing
    key_frames    a camera path that grows key by key, and its files
    face          the page in the browser: viser, a file for each folder of its panel

Pictures are rendered by the thread that asks for them (`Studio.serve`), which is the one that trains: kernels have one
owner at a time without a lock. The threads of the web server only note who wants to see what.
"""
