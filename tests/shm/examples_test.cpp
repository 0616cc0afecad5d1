// Goal: the examples do what they say.
// Method: the programs themselves: a writer, two readers, and NumPy's view of the same memory.

#include <catch2/catch.hpp>

#include <cstdlib>

#include "shm/token.h"
#include "tests/shm/peers.h"
#include "tests/support/not_tested.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

TEST_CASE("two readers of the ticker see every bar live, and its end") {
  Peer before({"read", "ticks"}, -1, BANYAN_TICKER);
  Peer writer({"write", "ticks", "50", "200"}, -1, BANYAN_TICKER);
  REQUIRE(Token::from_text(writer.line()));
  Peer after_it({"read", "ticks"}, -1, BANYAN_TICKER);
  for (Peer* reader : {&before, &after_it}) {
    for (int bar = 0; bar < 49; ++bar) {
      const std::string line = reader->line();
      CAPTURE(line);
      REQUIRE(line.starts_with("bar " + std::string(bar < 10 ? 2 : 1, ' ') + std::to_string(bar) + "  open"));
      REQUIRE(line.ends_with("volume  200"));
    }
  }
  writer.close_input();
  CHECK(writer.wait() == 0);
  for (Peer* reader : {&before, &after_it}) {
    CHECK(reader->line().starts_with("ended; the last close was "));
    CHECK(reader->wait() == 0);
  }
}

TEST_CASE("NumPy maps a live array by its token, and sees the fields") {
  if (std::system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") != 0) {
    banyan::test::not_tested("numpy", "there is no NumPy (Debian's python3-numpy)");
    return;
  }
  Peer writer({"write", "ticks", "50", "200"}, -1, BANYAN_TICKER);
  const std::string token = writer.line();
  Peer reader({BANYAN_NUMPY_READER, token}, -1, "/usr/bin/python3");
  const std::string rows = reader.line();
  // As many as there are when it looks.
  CHECK(rows.find(" rows of index, time, open, high, low, close, volume, bar_wap") != rows.npos);
  CHECK(reader.line().starts_with("mean close "));
  CHECK(reader.wait() == 0);
  writer.close_input();
  CHECK(writer.wait() == 0);
}

TEST_CASE("NumPy's row of every kind of field is as long as ours") {
  if (std::system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") != 0) {
    banyan::test::not_tested("numpy", "there is no NumPy (Debian's python3-numpy)");
    return;
  }
  Peer python(
      {"-c",
       "import ast, sys, numpy as np\n"
       "t = np.lib.format.descr_to_dtype(ast.literal_eval(sys.argv[1]))\n"
       "print(t.itemsize, [t.fields[n][1] for n in t.names])",
       "[('flag', '|b1'), ('', '|V1'), ('small', '<i2'), ('name', '|S5'), ('', '|V3'), ('real', '<f4'), "
       "('counts', '<u4', (3,)), ('code', '|S2'), ('', '|V2'), ('matrix', '<f8', (2,))]"},
      -1, "/usr/bin/python3");
  CHECK(python.line() == "48 [0, 2, 4, 12, 16, 28, 32]");
  CHECK(python.wait() == 0);
}
