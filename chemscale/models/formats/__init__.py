"""ChemGPT in forms that other programs serve (GPT-2, ONNX, GGUF), and weights of published models."""
