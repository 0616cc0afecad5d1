// Goal: the loader executes exactly the image it was sent, from memory or from a file, or says why not; it
// takes no byte too many, leaves no file, and cannot be made to eat memory. Method: the loader that ships,
// run as stage 0 runs it, on good, cut, damaged and lying input; and where the kernel forbids the execution
// of memory.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/text.h"
#include "parent/image_header.h"
#include "tests/bootstrap/far_end.h"
#include "tests/support/not_tested.h"

using namespace banyan;
using namespace banyan::test;

namespace {

const Image& echo_image() {
  utsname name{};
  ::uname(&name);
  const Image* image = echo_images().find(name.machine, ImageKind::kAgent);
  REQUIRE(image != nullptr);
  return *image;
}

std::string text_of(Bytes bytes) {
  return std::string(as_text(bytes));
}

std::string with_header(const std::string& frame, std::uint32_t plain_bytes) {
  std::uint8_t header[kImageHeaderBytes];
  store_le(header, kImageMagic);
  store_le(header + 4, std::uint32_t(frame.size()));
  store_le(header + 8, plain_bytes);
  return std::string(reinterpret_cast<char*>(header), sizeof header) + frame;
}

std::string good_input() {
  return with_header(text_of(echo_image().compressed), echo_image().plain_bytes);
}

std::string compress(const std::string& plain, bool checksum = true, bool content_size = true) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, content_size);
  std::string frame(ZSTD_compressBound(plain.size()), '\0');
  frame.resize(ZSTD_compress2(context, frame.data(), frame.size(), plain.data(), plain.size()));
  ZSTD_freeCCtx(context);
  frame.shrink_to_fit();  // memory of ours is counted as the loader's until it is executed
  return frame;
}

struct Loaded {
  std::string output;
  int status = -1;
  long peak_kilobytes = 0;
  bool left = false;  // the loader's file is still there
};

// Of the loader, and of this very program before it executes the loader: most of it, under a sanitizer nearly
// all.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr long kPeakKilobytesMax = 1 << 20;
#else
constexpr long kPeakKilobytesMax = 8192;
#endif

constexpr int kNotAllowed = 122;

// Runs the loader on `input`, sent in pieces, which then ends. `in_child` runs in a process that is its
// parent.
Loaded load(const std::string& input, std::function<void()> in_child = {}, std::size_t pieces_of = 65536,
            bool nonblocking = false) {
  Folder folder;
  std::string file = folder.path() + "/work/loader file";
  std::ofstream(file, std::ios::binary) << text_of(echo_image().loader);
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);

  std::string nonce = hex64(nonce_of_test());
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  Fd near(ends[0]), far(ends[1]);
  pid_t pid = ::fork();
  if (pid == 0) {
    if (nonblocking) ::fcntl(far.get(), F_SETFL, O_NONBLOCK);
    ::dup2(far.get(), 0);
    ::dup2(far.get(), 1);
    if (in_child) in_child();
    char* argv[] = {file.data(), file.data(), nonce.data(), nullptr};
    char* environment[] = {nullptr};
    ::execve(file.c_str(), argv, environment);
    ::_exit(121);
  }
  REQUIRE(pid > 0);
  far.reset();
  Loaded loaded;
  std::size_t sent = 0;
  if (input.empty()) ::shutdown(near.get(), SHUT_WR);
  for (bool open = true; open;) {
    pollfd polled{near.get(), short(POLLIN | (sent < input.size() ? POLLOUT : 0)), 0};
    if (::poll(&polled, 1, 60'000) != 1) {
      ::kill(pid, SIGKILL);
      break;
    }
    if (sent < input.size() && polled.revents & (POLLOUT | POLLERR | POLLHUP)) {
      auto now = std::min(pieces_of, input.size() - sent);
      auto count = ::send(near.get(), input.data() + sent, now, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0 && errno != EAGAIN) sent = input.size();
      if (count > 0) sent += std::size_t(count);
      if (sent == input.size()) ::shutdown(near.get(), SHUT_WR);
    }
    if (polled.revents & (POLLIN | POLLHUP)) {
      char part[65536];
      auto count = ::recv(near.get(), part, sizeof part, MSG_DONTWAIT);
      if (count > 0) loaded.output.append(part, std::size_t(count));
      if (count == 0 || (count < 0 && errno != EAGAIN)) open = false;
    }
  }
  rusage usage{};
  ::wait4(pid, &loaded.status, 0, &usage);
  loaded.peak_kilobytes = usage.ru_maxrss;
  loaded.left = !folder.left_behind().empty();
  return loaded;
}

std::string payload(const std::string& text) {
  std::uint8_t length[4];
  store_le(length, std::uint32_t(text.size()));
  return std::string(reinterpret_cast<char*>(length), sizeof length) + text;
}

void check_echo(const Loaded& loaded, const std::string& from, const std::string& text) {
  auto line = std::min(loaded.output.find('\n'), loaded.output.size());
  INFO(loaded.output.substr(0, line));
  CHECK(loaded.output.substr(0, line).starts_with(
      cat("BN\x01\x0b", "banyan-agent ", hex64(nonce_of_test()), " ", from)));
  CHECK(loaded.output.ends_with("\n" + text));
  CHECK(loaded.status == 0);
  CHECK_FALSE(loaded.left);
}

void check_error(const Loaded& loaded, const std::string& what) {
  CHECK(loaded.output == "\nBANYAN-ERROR " + hex64(nonce_of_test()) + " " + what + "\n");
  CHECK(WIFEXITED(loaded.status));
  CHECK(WEXITSTATUS(loaded.status) == 1);
  CHECK_FALSE(loaded.left);
}

// Continues in a child that is the first of a new process namespace, where vm.memfd_noexec is `level`; what
// runs on there has it too. Exits with kNotAllowed where that cannot be had.
void forbid_memory(int level) {
  if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) ::_exit(kNotAllowed);
  pid_t pid = ::fork();
  if (pid != 0) {
    ::close(0);
    ::close(1);
    int status = 0;
    ::waitpid(pid, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 123);
  }
  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  ::mount("proc", "/proc", "proc", 0, nullptr);
  int setting = ::open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC);
  char digit = static_cast<char>('0' + level);
  if (setting < 0 || ::write(setting, &digit, 1) != 1) ::_exit(kNotAllowed);
}

bool was_not_allowed(const Loaded& loaded) {
  return WIFEXITED(loaded.status) && WEXITSTATUS(loaded.status) == kNotAllowed;
}

}  // namespace

TEST_CASE("a good image runs from memory and gets every byte that follows it") {
  const std::string text = random_bytes(200'000, 11);
  check_echo(load(good_input() + payload(text)), "/memfd:banyan (deleted)", text);
  check_echo(load(good_input() + payload(text), {}, 777), "/memfd:banyan (deleted)", text);
}

TEST_CASE("a standard input that does not block is waited for") {
  // Pieces come as fast as they are sent, but never all at once: the first read finds nothing.
  Loaded loaded = load(good_input() + payload(""), {}, 100, true);
  check_echo(loaded, "/memfd:banyan (deleted)", "");
}

TEST_CASE("where memory may be executed only by request, it is requested") {
  Loaded loaded = load(good_input() + payload("one"), [] { forbid_memory(1); });
  if (was_not_allowed(loaded)) {
    not_tested("memfd-noexec", "vm.memfd_noexec cannot be set here");
    return;
  }
  check_echo(loaded, "/memfd:banyan (deleted)", "one");
}

TEST_CASE("where memory may not be executed, a file serves, and is gone") {
  Loaded loaded = load(good_input() + payload("two"), [] { forbid_memory(2); });
  if (was_not_allowed(loaded)) {
    not_tested("memfd-noexec", "vm.memfd_noexec cannot be set here");
    return;
  }
  check_echo(loaded, std::getenv("TMPDIR"), "two");
  CHECK_THAT(loaded.output, Catch::Contains("/work/loader file (deleted)"));
}

TEST_CASE("where neither memory nor files may be executed, that is said") {
  Loaded loaded = load(good_input() + payload("none"), [] {
    forbid_memory(2);
    // After the loader itself was started nothing more can be written.
    rlimit none{0, 0};
    ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &none);
  });
  if (was_not_allowed(loaded)) {
    not_tested("memfd-noexec", "vm.memfd_noexec cannot be set here");
    return;
  }
  check_error(loaded, cat(EFBIG, " execute"));
}

TEST_CASE("an input that ends early is told as that, wherever it ends") {
  const std::string input = good_input();
  for (std::size_t end = 0; end < input.size(); end += end < 40 ? 1 : 997) {
    INFO("ends after " << end << " of " << input.size());
    check_error(load(input.substr(0, end)), "0 truncated");
  }
}

TEST_CASE("a damaged image is never executed, whichever byte is damaged") {
  const std::string input = good_input();
  int harmless = 0;
  for (std::size_t at = kImageHeaderBytes; at < input.size();
       at += at < 40 || at + 10 > input.size() ? 1 : 97) {
    INFO("byte " << at << " of " << input.size());
    std::string damaged = input;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    // A few bits of a frame mean nothing: what decodes to the very same image, checksum and all, is not
    // damaged.
    Buffer plain(echo_image().plain_bytes);
    if (ZSTD_decompress(plain.data(), plain.size(), damaged.data() + kImageHeaderBytes,
                        damaged.size() - kImageHeaderBytes) == plain.size()) {
      ++harmless;
      continue;
    }
    Loaded loaded = load(damaged);
    CHECK_THAT(loaded.output, Catch::StartsWith("\nBANYAN-ERROR " + hex64(nonce_of_test()) + " "));
    CHECK(WIFEXITED(loaded.status));
    CHECK(WEXITSTATUS(loaded.status) == 1);
    CHECK_FALSE(loaded.left);
  }
  CHECK(harmless < 5);
}

TEST_CASE("a header that lies is refused before memory is taken for it") {
  const std::string good = good_input();
  struct Row {
    std::size_t at;
    std::uint32_t value;
  };
  for (Row row : {Row{0, 0x12345678},
                  {4, 0},
                  {4, kImageBytesMax + 1},
                  {4, 0xffffffff},
                  {8, 0},
                  {8, kImageBytesMax + 1},
                  {8, 0xffffffff}}) {
    INFO("field at " << row.at << " is " << row.value);
    std::string lying = good;
    store_le(reinterpret_cast<std::uint8_t*>(lying.data()) + row.at, row.value);
    Loaded loaded = load(lying);
    check_error(loaded, "0 header");
    CHECK(loaded.peak_kilobytes < kPeakKilobytesMax);
  }
}

TEST_CASE("a frame without what it must announce is refused") {
  const std::string plain = text_of({reinterpret_cast<const std::uint8_t*>("abcdefgh"), 8});
  check_error(load(with_header(compress(plain, false), 8)), "0 frame");
  check_error(load(with_header(compress(plain, true, false), 8)), "0 frame");
  check_error(load(with_header(compress(plain), 7)), "0 frame");
  check_error(load(with_header(compress(plain), 9)), "0 frame");
  check_error(load(with_header(compress(plain) + "x", 8)), "20 corrupt");
  check_error(load(with_header("not zstd at all", 8)), "0 frame");
}

TEST_CASE("a frame that swells is stopped at the length that was announced") {
  const std::string bomb = compress(std::string(kImageBytesMax, '\0'));
  REQUIRE(bomb.size() < 100'000);
  check_error(load(with_header(bomb, 1000)), "0 frame");

  // The frame's own announcement made to agree with ours: four bytes after magic and descriptor.
  std::string lying = bomb;
  auto descriptor = static_cast<unsigned char>(lying[4]);
  REQUIRE(descriptor >> 6 == 2);  // a content size of four bytes
  std::size_t at = 5 + ((descriptor & 0x20) == 0);
  store_le(reinterpret_cast<std::uint8_t*>(lying.data()) + at, std::uint32_t(1000));
  Loaded loaded = load(with_header(lying, 1000));
  CHECK_THAT(loaded.output, Catch::Contains("BANYAN-ERROR"));
  CHECK_FALSE(loaded.left);
  CHECK(loaded.peak_kilobytes < kPeakKilobytesMax);
}

TEST_CASE("something that is not a program is refused by the kernel, and that is told") {
  check_error(load(with_header(compress("neither ELF nor script"), 22)), cat(ENOEXEC, " execute"));
}

TEST_CASE("without arguments the loader does nothing and succeeds") {
  Folder folder;
  std::string file = folder.path() + "/loader";
  std::ofstream(file, std::ios::binary) << text_of(echo_image().loader);
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  CHECK(std::system(cat("'", file, "' </dev/null").c_str()) == 0);
}
