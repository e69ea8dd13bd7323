bloom_fuzz(json DEPS json)
bloom_fuzz(tokenizer_json DEPS text)
