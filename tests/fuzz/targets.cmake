bloom_fuzz(http DEPS http)
