bloom_fuzz(jinja DEPS text)
bloom_fuzz(output_parser DEPS text)
