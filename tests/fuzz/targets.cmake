bloom_fuzz(json DEPS json)
