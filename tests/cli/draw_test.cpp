// Goal: the drawing shows who lies beneath whom, in aligned columns, and stays safe and finite on odd input.
// Method: whole drawings, compared.
#include "cli/draw.h"

#include <catch2/catch.hpp>

using namespace banyan;
using namespace banyan::cli;

TEST_CASE("a tree of two levels is drawn with its branches") {
  CHECK(draw_tree({{0, std::nullopt, "root", "-", "x86_64", 100, std::nullopt, 5000},
                   {1, 0, "gw", "ssh", "x86_64", 20, 1'500 * kMicrosecond, 400},
                   {3, 1, "db1", "ssh", "aarch64", 7, 12 * kMillisecond, 410},
                   {2, 0, "local", "local", "x86_64", 101, 40 * kMicrosecond, 380}}) ==
        "root       id 0  -      x86_64   pid 100            5000 KiB\n"
        "├─ gw      id 1  ssh    x86_64   pid 20   1.50 ms   400 KiB\n"
        "│  └─ db1  id 3  ssh    aarch64  pid 7    12.00 ms  410 KiB\n"
        "└─ local   id 2  local  x86_64   pid 101  0.04 ms   380 KiB\n");
}

TEST_CASE("names that would drive a terminal are shown as text") {
  CHECK(draw_tree({{0, std::nullopt, "ro\x1b[2Jot\n", "-", "x", 1, std::nullopt, 1}})
            .find("ro\\x1b[2Jot\\n  id 0") == 0);
}

TEST_CASE("contexts that name each other as parents, or an unknown one, make no drawing") {
  CHECK(draw_tree({{1, 2, "a", "", "", 0, std::nullopt, 0}, {2, 1, "b", "", "", 0, std::nullopt, 0}}) == "");
  CHECK(draw_tree({{1, 1, "a", "", "", 0, std::nullopt, 0}, {5, 9, "b", "", "", 0, std::nullopt, 0}}) == "");
  CHECK(draw_tree({}) == "");
}
