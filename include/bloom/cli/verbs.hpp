#pragma once

#include <bloom/cli/args.hpp>

/// What each verb does; all return the process's exit code (0 fine, 1 failed, 2 bad usage or
/// configuration, 3 the machine lacks something).
namespace bloom::cli {

int run_serve(const Arguments& arguments);
int run_chat(const Arguments& arguments);
int run_models(const Arguments& arguments);
int run_inspect(const Arguments& arguments);
int run_doctor(const Arguments& arguments);
int run_bench_roofs(const Arguments& arguments);
int run_bench_kernels(const Arguments& arguments);
int run_bench_model(const Arguments& arguments);
int run_bench_serve(const Arguments& arguments);
int run_keys(const Arguments& arguments);
int run_verify_response(const Arguments& arguments);
int run_fit(const Arguments& arguments);

/// Runs the verb of the command line.
int run(const Arguments& arguments);

} // namespace bloom::cli
