bloom_fuzz(json DEPS json)
bloom_fuzz(gguf DEPS engine)
bloom_fuzz(safetensors DEPS engine)
bloom_fuzz(tokenizer_json DEPS text)
