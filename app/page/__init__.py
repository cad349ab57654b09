"""The page that `earshot app` shows: Streamlit lays out what plain functions make.

`script` is what Streamlit runs; `views` are its parts. `pictures` and `parts` turn numbers into PNG, SVG and HTML, `clip`
scores a recording, `teaching` keeps what people say of an answer, `microphone` and `intake` are the way the sound comes.
"""
