"""Training-free methods on the engine: MultiDiffusion, layout guidance (TFLCG), BoxDiff; written from the papers."""
