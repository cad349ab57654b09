"""The encoders, a module for each family: patches of audio in, vectors out."""
