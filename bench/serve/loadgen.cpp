// A small epoll client, on purpose without the project's own runtime: what it costs and where it
// waits must not depend on what it measures.
#include "loadgen.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace bloom::bench {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "loadgen: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

/// Nanoseconds on a CPU of all threads of a process, from schedstat (the ticks of stat are 10 ms).
double cpu_seconds(int pid) {
    if (pid == 0) return 0;
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR* dir = opendir(path);
    if (dir == nullptr) die(path);
    double total = 0;
    while (const dirent* entry = readdir(dir)) {
        if (entry->d_name[0] == '.') continue;
        char file[400];
        std::snprintf(file, sizeof file, "%s/%s/schedstat", path, entry->d_name);
        if (std::FILE* in = std::fopen(file, "r")) {
            unsigned long long ns = 0;
            if (std::fscanf(in, "%llu", &ns) == 1) total += static_cast<double>(ns) * 1e-9;
            std::fclose(in);
        }
    }
    closedir(dir);
    return total;
}

/// What one response needs before it is over.
struct Connection {
    int fd = -1;
    bool busy = false;
    std::string in;
    Clock::time_point due;
};

class Load {
public:
    explicit Load(const LoadOptions& options)
        : options_(options), connections_(options.n_connections) {
        epoll_ = epoll_create1(0);
        if (epoll_ < 0) die("epoll_create1");
        for (Connection& c : connections_)
            open(c);
    }

    ~Load() {
        for (Connection& c : connections_) {
            if (c.fd >= 0) close(c.fd);
        }
        close(epoll_);
    }

    LoadResult run() {
        phase(options_.warmup_seconds);
        result_ = {};
        const double cpu_before = cpu_seconds(options_.server_pid);
        const auto begin = Clock::now();
        phase(options_.seconds);
        result_.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        result_.server_cpu_seconds = cpu_seconds(options_.server_pid) - cpu_before;
        std::sort(result_.latency_us.begin(), result_.latency_us.end());
        return std::move(result_);
    }

private:
    void open(Connection& c) {
        c.fd = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(options_.port);
        inet_pton(AF_INET, options_.host.c_str(), &to.sin_addr);
        if (c.fd < 0 || connect(c.fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
            die("connect");
        const int one = 1;
        setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.ptr = &c;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0) die("epoll_ctl");
        c.busy = false;
        c.in.clear();
    }

    void start(Connection& c, Clock::time_point due) {
        c.due = due;
        c.busy = true;
        const auto n = send(c.fd, options_.request.data(), options_.request.size(), MSG_NOSIGNAL);
        if (n != static_cast<ssize_t>(options_.request.size())) fail(c);
    }

    void fail(Connection& c) {
        ++result_.n_errors;
        close(c.fd);
        open(c);
    }

    /// Whether `in` holds a whole response; checks the status.
    bool whole(Connection& c) {
        const std::size_t end = c.in.find("\r\n\r\n");
        if (end == std::string::npos) return false;
        constexpr std::string_view kLength = "Content-Length: ";
        const std::size_t at = c.in.find(kLength);
        if (at < end) {
            const auto n = std::strtoul(c.in.c_str() + at + kLength.size(), nullptr, 10);
            return c.in.size() >= end + 4 + n;
        }
        // The last chunk, and behind it perhaps trailers.
        return c.in.ends_with("\r\n\r\n") && c.in.rfind("\r\n0\r\n") != std::string::npos;
    }

    void readable(Connection& c, bool closed_loop) {
        char buffer[65536];
        const auto n = recv(c.fd, buffer, sizeof buffer, 0);
        if (n <= 0) return fail(c);
        c.in.append(buffer, static_cast<std::size_t>(n));
        if (!c.busy || !whole(c)) return;
        const auto now = Clock::now();
        if (!c.in.starts_with("HTTP/1.1 2")) ++result_.n_errors;
        ++result_.n_requests;
        for (std::size_t at = c.in.find("data:"); at != std::string::npos;
             at = c.in.find("data:", at + 5)) {
            ++result_.n_events;
        }
        result_.latency_us.push_back(static_cast<std::uint32_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(now - c.due).count()));
        c.in.clear();
        c.busy = false;
        if (closed_loop) start(c, now);
    }

    void phase(double seconds) {
        const auto begin = Clock::now();
        const auto end = begin + std::chrono::duration_cast<Clock::duration>(
                                     std::chrono::duration<double>(seconds));
        const bool closed_loop = options_.rate <= 0;
        const double gap = closed_loop ? 0 : 1 / options_.rate;
        std::uint64_t n_due = 0;
        for (Connection& c : connections_) {
            if (closed_loop && !c.busy) start(c, begin);
        }
        std::vector<epoll_event> events(connections_.size());
        for (auto now = Clock::now(); now < end; now = Clock::now()) {
            while (
                !closed_loop) { // requests whose time has come; late when every connection is busy
                const auto due =
                    begin + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(static_cast<double>(n_due) * gap));
                const auto idle = std::find_if(connections_.begin(), connections_.end(),
                                               [](const Connection& c) { return !c.busy; });
                if (due > now || idle == connections_.end()) break;
                start(*idle, due);
                ++n_due;
            }
            const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                     closed_loop ? 10 : 0);
            for (int i = 0; i < n; ++i) {
                readable(*static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr),
                         closed_loop);
            }
        }
    }

    LoadOptions options_;
    std::vector<Connection> connections_;
    LoadResult result_;
    int epoll_ = -1;
};

} // namespace

double LoadResult::percentile_us(double p) const {
    if (latency_us.empty()) return 0;
    const auto idx = static_cast<std::size_t>(p * static_cast<double>(latency_us.size() - 1));
    return latency_us[idx];
}

LoadResult run_load(const LoadOptions& options) {
    return Load(options).run();
}

} // namespace bloom::bench
