// Goal: the cache remembers across programs, never harms, and never hands on what is not an architecture.
// Method: a folder of our own; files written by hand; two caches that save in turn.
#include "transports/arch_cache.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

using namespace banyan;

namespace {

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "arch.XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string cache() const { return path_ + "/below/banyan"; }
  void write(const std::string& text) const {
    std::filesystem::create_directories(cache());
    std::ofstream(cache() + "/architectures", std::ios::binary) << text;
  }
  std::string read() const {
    std::ifstream in(cache() + "/architectures", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("what one program learned the next one knows") {
  Folder folder;
  ArchCache first(folder.cache());
  CHECK(first.find("web1") == "");
  first.learn("web1", "x86_64");
  first.learn("web2", "aarch64");
  CHECK(first.find("web1") == "x86_64");
  first.save();

  ArchCache second(folder.cache());
  CHECK(second.find("web1") == "x86_64");
  CHECK(second.find("web2") == "aarch64");
  CHECK(second.find("web3") == "");
  struct stat info;
  REQUIRE(stat(folder.cache().c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);
}

TEST_CASE("a wrong entry is forgotten and corrected") {
  Folder folder;
  folder.write("web1\taarch64\nweb2\tx86_64\n");
  ArchCache cache(folder.cache());
  cache.forget("web1");
  CHECK(cache.find("web1") == "");
  cache.learn("web1", "x86_64");
  cache.forget("web2");
  cache.save();
  CHECK(folder.read() == "web1\tx86_64\n");
}

TEST_CASE("a full cache still corrects what it has") {
  Folder folder;
  std::string text;
  for (std::size_t i = 0; i < kArchCacheMax; ++i) text += "h" + std::to_string(i) + "\taarch64\n";
  folder.write(text);
  ArchCache cache(folder.cache());
  cache.learn("h7", "x86_64");
  cache.learn("new", "x86_64");
  cache.save();
  const ArchCache next(folder.cache());
  CHECK(next.find("h7") == "x86_64");
  CHECK(next.find("h8") == "aarch64");
  CHECK(next.find("new") == "");
}

TEST_CASE("two programs that save in turn keep each other's entries") {
  Folder folder;
  ArchCache first(folder.cache()), second(folder.cache());
  first.learn("web1", "x86_64");
  second.learn("web2", "aarch64");
  first.save();
  second.save();
  CHECK(folder.read() == "web1\tx86_64\nweb2\taarch64\n");
}

TEST_CASE("a damaged file costs its damaged lines only") {
  Folder folder;
  const std::string with_nul("nul\0here\tx86_64\n", 16);
  folder.write(
      "web1\tx86_64\n\tx86_64\nno tab\nweb2\t$(reboot)\nweb3\t\nweb4\tarmv7l\textra\n\x01\tx86_64\n" +
      with_nul + "web5\taarch64\nweb6\taarc");
  ArchCache cache(folder.cache());
  CHECK(cache.find("web1") == "x86_64");
  CHECK(cache.find("web2") == "");
  CHECK(cache.find("web3") == "");
  CHECK(cache.find("web4") == "");
  CHECK(cache.find("web5") == "aarch64");
  CHECK(cache.find("web6") == "");
}

TEST_CASE("only an architecture is learned") {
  Folder folder;
  ArchCache cache(folder.cache());
  cache.learn("web1", "x86_64; reboot");
  cache.learn("web1\nweb2", "x86_64");
  cache.learn("web\t3", "x86_64");
  cache.learn("web4", std::string(100, 'x'));
  cache.save();
  CHECK(folder.read() == "");
}

TEST_CASE("a folder that cannot be had, and none at all, are no failure") {
  for (const char* path : {"", "/dev/null/banyan"}) {
    ArchCache cache{path};
    cache.learn("web1", "x86_64");
    cache.save();
    CHECK(cache.find("web1") == "x86_64");
  }
}

TEST_CASE("a save that meets another does not wait and loses nothing") {
  Folder folder;
  folder.write("");
  ArchCache cache(folder.cache());
  cache.learn("web1", "x86_64");
  // A folder in place of the lock cannot be opened for writing: as good as taken.
  std::filesystem::create_directory(folder.cache() + "/architectures.lock");
  cache.save();
  CHECK(folder.read() == "");
  std::filesystem::remove(folder.cache() + "/architectures.lock");
  cache.save();
  CHECK(folder.read() == "web1\tx86_64\n");
}
