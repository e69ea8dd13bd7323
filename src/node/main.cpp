#include <cstdio>
#include <exception>

#include <bloom/cli/verbs.hpp>

int main(int argc, char** argv) {
    // The last of the three places where a library's exception ends up.
    try {
        return bloom::cli::run(bloom::cli::parse_arguments(argc, argv));
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "error: %s\n", failure.what());
        return 1;
    }
}
