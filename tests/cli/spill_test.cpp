// Goal: texts that are kept cost a bounded amount of memory, come back as they were, and leave no file.
// Method: small bounds, a folder of our own, a folder that is none, and a file that may not grow.
#include "cli/spill.h"

#include <dirent.h>

#include <catch2/catch.hpp>
#include <cstdlib>

#include "core/text.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

std::string folder() {
  return std::getenv("TMPDIR");
}

std::size_t files_in(const std::string& path) {
  std::size_t files = 0;
  DIR* entries = ::opendir(path.c_str());
  while (const dirent* entry = ::readdir(entries)) files += entry->d_name[0] != '.' ? 1 : 0;
  ::closedir(entries);
  return files;
}

std::string all_of(Spill& spill, const Spill::Text& text) {
  std::string all;
  for (std::size_t block = 0; spill.read(text, block, all); ++block) {
  }
  return all;
}

std::string some_text(std::size_t bytes, char first) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += char(first + char(i * 7 / 3 % 23));
  return text;
}

constexpr std::size_t kMemory = 4 * kSpillBlockBytes;

}  // namespace

TEST_CASE("what is beyond the memory lies in a file without a name, and comes back as it was") {
  Spill spill(folder(), kMemory);
  const std::size_t before = files_in(folder());
  std::vector<Spill::Text> texts(5);
  std::vector<std::string> expected(5);
  for (int round = 0; round < 40; ++round) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::string piece = some_text(3'000 + 1'000 * i, char('a' + i));
      spill.append(texts[i], piece);
      expected[i] += piece;
    }
    REQUIRE(spill.in_memory() <= kMemory + texts.size() * kSpillBlockBytes);
  }
  for (Spill::Text& text : texts) spill.seal(text);
  CHECK(spill.in_file() > 500'000);
  CHECK(files_in(folder()) == before);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CHECK(texts[i].bytes() == expected[i].size());
    CHECK((all_of(spill, texts[i]) == expected[i]));
  }
  for (Spill::Text& text : texts) spill.drop(text);
  CHECK(spill.in_memory() == 0);
  CHECK(spill.in_file() == 0);
}

TEST_CASE("room in the file is used again when a text is dropped") {
  Spill spill(folder(), 0, 10 * kSpillBlockBytes);
  for (int round = 0; round < 20; ++round) {
    Spill::Text text;
    const std::string bytes = some_text(9 * kSpillBlockBytes, char('a' + round));
    spill.append(text, bytes);
    REQUIRE((all_of(spill, text) == bytes));
    spill.drop(text);
  }
  CHECK_FALSE(spill.has_failed());
}

TEST_CASE("where the file takes no more nothing is lost, and the reason is told") {
  const struct {
    std::string folder;
    std::uint64_t file_max;
    const char* said;
  } table[] = {
      {"/proc/none", kSpillFileMax, "a temporary file in /proc/none: No such file or directory"},
      {folder(), 3 * kSpillBlockBytes, "more than 0 MiB"},
  };
  for (const auto& row : table) {
    Spill spill(row.folder, kMemory, row.file_max);
    Spill::Text text;
    const std::string bytes = some_text(20 * kSpillBlockBytes + 5, 'a');
    spill.append(text, bytes);
    CHECK(spill.has_failed());
    CHECK(spill.failure() == row.said);
    CHECK((all_of(spill, text) == bytes));
  }
}
