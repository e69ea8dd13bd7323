#include <gtest/gtest.h>

#include <bloom/sse/reader.hpp>

namespace bloom::sse {
namespace {

std::string dump(Reader& reader) {
    std::string out;
    for (Event e; reader.next(e);)
        out += "[" + e.type + "|" + e.data + "|" + e.id + "]";
    return out;
}

constexpr std::string_view kStream = "\xEF\xBB\xBF: hello\n"
                                     "data: one\ndata:two\ndata\n\n"
                                     "event: ping\rdata: {}\r\rid: 7\r\n"
                                     "data:  spaced\r\n\r\nretry: 5\nunknown: x\n\nevent: lost\n\n"
                                     "data: unfinished\n";
constexpr std::string_view kEvents = "[message|one\ntwo\n|][ping|{}|][message| spaced|7]";

TEST(SseReader, Whole) {
    Reader reader;
    ASSERT_TRUE(reader.feed(kStream));
    EXPECT_EQ(dump(reader), kEvents);
    EXPECT_EQ(reader.n_comments(), 1u);
    EXPECT_EQ(reader.last_comment(), " hello");
}

TEST(SseReader, CutAnywhere) {
    for (std::size_t cut = 0; cut <= kStream.size(); ++cut) {
        Reader reader;
        ASSERT_TRUE(reader.feed(kStream.substr(0, cut)));
        std::string got = dump(reader);
        ASSERT_TRUE(reader.feed(kStream.substr(cut)));
        got += dump(reader);
        EXPECT_EQ(got, kEvents) << "cut at " << cut;
    }
}

TEST(SseReader, Bounded) {
    Reader reader(16);
    ASSERT_TRUE(reader.feed("data: 0123456789\n"));
    EXPECT_EQ(reader.feed("data: 0123456789\n").error().code(), Code::too_large);
}

} // namespace
} // namespace bloom::sse
