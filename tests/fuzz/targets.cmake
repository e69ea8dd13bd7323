bloom_fuzz(json DEPS json)
bloom_fuzz(http DEPS http)
