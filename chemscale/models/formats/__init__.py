"""ChemGPT in forms that other programs serve (an exact GPT-2, ONNX), and weights of published models."""
