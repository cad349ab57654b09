"""What runs the networks: TensorFlow and LiteRT, imported on demand and without their chatter."""
