#include <bloom/cli/verbs.hpp>

namespace bloom::cli {

int run(const Arguments& arguments) {
    switch (arguments.verb) {
    case Verb::none:
        return arguments.exit_code;
    case Verb::serve:
        return run_serve(arguments);
    case Verb::chat:
        return run_chat(arguments);
    case Verb::models:
        return run_models(arguments);
    case Verb::inspect:
        return run_inspect(arguments);
    case Verb::doctor:
        return run_doctor(arguments);
    case Verb::bench_roofs:
        return run_bench_roofs(arguments);
    case Verb::bench_kernels:
        return run_bench_kernels(arguments);
    case Verb::bench_model:
        return run_bench_model(arguments);
    case Verb::bench_serve:
        return run_bench_serve(arguments);
    case Verb::keys_create:
    case Verb::keys_list:
    case Verb::keys_revoke:
        return run_keys(arguments);
    case Verb::verify_response:
        return run_verify_response(arguments);
    case Verb::fit:
        return run_fit(arguments);
    }
    return 2;
}

} // namespace bloom::cli
