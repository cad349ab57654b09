# The page that listens, without TensorFlow's training side being loaded. Build and run: docs/live.md.
FROM python:3.12-slim
WORKDIR /earshot
# Nothing has to be compiled: PyAV, soundfile and LiteRT bring their libraries along.
COPY requirements.txt pyproject.toml README.md ./
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . && useradd --create-home listener && mkdir /sounds && chown listener /sounds
USER listener
EXPOSE 8501
# Models and weights come in as volumes: nobody's sounds are baked into an image.
ENV EARSHOT_WEIGHTS=/weights
HEALTHCHECK --start-period=30s CMD python -c "import urllib.request as u; u.urlopen('http://localhost:8501/_stcore/health')"
ENTRYPOINT ["earshot", "app", "--address", "0.0.0.0", "--keep", "/sounds"]
CMD ["--model", "/model"]
