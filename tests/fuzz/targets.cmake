bloom_fuzz(json DEPS json)
bloom_fuzz(http DEPS http)
bloom_fuzz(tokenizer_json DEPS text)
