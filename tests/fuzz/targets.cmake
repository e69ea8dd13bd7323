bloom_fuzz(http DEPS http)
bloom_fuzz(http_response DEPS http)
bloom_fuzz(sse DEPS sse)
