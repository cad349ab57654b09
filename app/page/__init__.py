"""The page that `earshot app` shows: Streamlit lays out what plain functions make.

`script` is what Streamlit runs, `layout` and `views` what it shows. `pictures`, `parts` make PNG and HTML of numbers,
`clip` scores a recording, `teaching` keeps what people say of an answer, `microphone` and `intake` are the way in.
"""
