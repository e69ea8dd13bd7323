// What a signed response costs: hashing of what the encoder wrote, the two signatures, and their
// parts. Processor time of one thread, median of rounds; the roof of hashing is what one call over
// a large buffer reaches in the same run.
//
//   bloom_bench_attest [rounds=15] [ops=200]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include <bloom/attest/response_signer.hpp>
#include <bloom/attest/verify.hpp>
#include <bloom/crypto/digest.hpp>

namespace {

using namespace bloom;

int option(int argc, char** argv, const char* name, int otherwise) {
    for (int i = 1; i < argc; ++i) {
        const std::size_t n = std::strlen(name);
        if (std::strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return std::atoi(argv[i] + n + 1);
    }
    return otherwise;
}

double cpu_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

/// Median over rounds of the time of one call.
template <class F>
double median_ns(int rounds, int ops, F&& f) {
    std::vector<double> times;
    for (int round = 0; round <= rounds; ++round) {
        const double begin = cpu_ns();
        for (int i = 0; i < ops; ++i)
            f();
        if (round > 0) times.push_back((cpu_ns() - begin) / ops); // the first one warms up
    }
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    return times[static_cast<std::size_t>(rounds / 2)];
}

attest::Statement statement() {
    attest::Statement out;
    out.response_id = "chatcmpl-00000000-0000-4000-8000-000000000000";
    out.request_hash = std::string(64, 'a');
    out.model = out.build = "darkbloom/nano";
    out.finish_reason = "stop";
    out.ts = 1'767'322'805;
    return out;
}

} // namespace

int main(int argc, char** argv) {
    const int rounds = option(argc, argv, "rounds", 15);
    const int ops = option(argc, argv, "ops", 200);
    const auto key = attest::IdentityKey::generate();
    if (!key) return 1;
    const std::string event(250, 'e'); // a chunk of a chat completion
    const std::string large(1 << 20, 'l');
    std::size_t sink = 0;

    const double sign =
        median_ns(rounds, ops, [&] { sink += key->sign(large.substr(0, 64))->size(); });
    std::printf("one signature                     %9.2f us\n", sign / 1e3);
    const double response = median_ns(rounds, ops, [&] {
        attest::ResponseSigner signer(*key);
        signer.update(event);
        sink += signer.finish(statement())->statement.size();
    });
    std::printf("a response, signed                %9.2f us\n", response / 1e3);

    attest::ResponseSigner signer(*key);
    const double update = median_ns(rounds, ops * 10, [&] { signer.update(event); });
    const double roof = median_ns(rounds, 4, [&] { sink += crypto::sha256(as_bytes(large))[0]; });
    const double bytes = static_cast<double>(event.size());
    std::printf(
        "hashing an event of 250 bytes     %9.3f us (%.2f of the rate over 1 MiB, %.2f GB/s)\n",
        update / 1e3, (bytes / update) / (static_cast<double>(large.size()) / roof),
        static_cast<double>(large.size()) / roof);

    attest::ResponseSigner whole(*key);
    whole.update(event);
    const auto evidence = whole.finish(statement());
    const auto signed_bytes = attest::signed_bytes_of_body(event);
    const double verify = median_ns(rounds, ops, [&] {
        sink += attest::verify(signed_bytes, *evidence, nullptr).has_value() ? 1 : 0;
    });
    std::printf("a response, verified              %9.2f us\n", verify / 1e3);
    return sink == 0 ? 1 : 0;
}
