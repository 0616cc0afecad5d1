#include "tests/bootstrap/far_end.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include "bootstrap/branches.h"
#include "core/text.h"
#include "parent/api/stage0.h"
#include "tests/support/seed.h"

namespace banyan::test {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Far above what any run needs on a busy machine under a sanitizer; a hanging one is a failure, not a hang.
constexpr std::chrono::seconds kDeadline{60};

class EchoImages final : public ImageStore {
 public:
  EchoImages() {
    for (auto architecture : embedded_images().architectures()) {
      std::ifstream file(cat(BANYAN_IMAGE_FOLDERS, "/", architecture, "/echo.image"), std::ios::binary);
      std::string plain((std::istreambuf_iterator<char>(file)), {});
      REQUIRE(!plain.empty());
      auto* bytes = reinterpret_cast<std::uint8_t*>(plain.data());
      const auto write = architecture == "x86_64"    ? write_targets_x86_64
                         : architecture == "aarch64" ? write_targets_aarch64
                                                     : write_targets_armv7l;
      write(bytes, std::int32_t(plain.size()), Targets::kByPlace);
      ZSTD_CCtx* context = ZSTD_createCCtx();
      ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
      frames_.emplace_back(ZSTD_compressBound(plain.size()), '\0');
      frames_.back().resize(
          ZSTD_compress2(context, frames_.back().data(), frames_.back().size(), plain.data(), plain.size()));
      ZSTD_freeCCtx(context);
      images_.push_back(*embedded_images().find(architecture, ImageKind::kAgent));
      images_.back().compressed = {};
      images_.back().plain_bytes = std::uint32_t(plain.size());
    }
    for (std::size_t i = 0; i < images_.size(); ++i) images_[i].compressed = as_bytes(frames_[i]);
  }
  const Image* find(std::string_view machine, ImageKind) const override {
    for (const Image& image : images_)
      if (image.architecture == image_architecture(machine)) return &image;
    return nullptr;
  }
  std::vector<std::string_view> architectures() const override {
    std::vector<std::string_view> names;
    for (const Image& image : images_) names.push_back(image.architecture);
    return names;
  }
  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
  Result<int> local_image(ImageKind) override { return -1; }

 private:
  std::vector<std::string> frames_;
  std::vector<Image> images_;
};

}  // namespace

std::string name_of(Wire wire) {
  return wire == Wire::kPipe ? "pipe" : wire == Wire::kSocketpair ? "socketpair" : "pty";
}

const ImageStore& echo_images() {
  static EchoImages images;
  return images;
}

std::uint64_t nonce_of_test() {
  static std::uint64_t nonce = std::random_device()() * std::uint64_t{0x9e3779b97f4a7c15};
  return nonce;
}

std::string random_bytes(std::size_t count, std::uint64_t salt) {
  std::mt19937_64 source(seed() + salt);
  std::string bytes(count, '\0');
  for (char& c : bytes) c = static_cast<char>(source());
  return bytes;
}

Folder::Folder() : path_(cat(std::getenv("TMPDIR"), "/far-end-XXXXXX")) {
  REQUIRE(::mkdtemp(path_.data()) != nullptr);
  for (const char* name : {"home", "runtime dir", "work"}) fs::create_directory(path_ + "/" + name);
}

Folder::~Folder() {
  std::error_code error;
  fs::remove_all(path_, error);
}

std::string Folder::make_path(const std::string& name, const std::vector<std::string>& links) const {
  std::string folder = path_ + "/" + name;
  fs::create_directory(folder);
  for (const std::string& link : links) {
    auto colon = link.rfind(':');
    fs::create_symlink(link.substr(0, colon), folder + "/" + link.substr(colon + 1));
  }
  return folder;
}

void Folder::write_script(const std::string& name, const std::string& text) const {
  std::ofstream(path_ + "/" + name) << text;
  fs::permissions(path_ + "/" + name, fs::perms::owner_all);
}

std::vector<std::string> Folder::left_behind() const {
  std::vector<std::string> found;
  for (const char* name : {"home", "runtime dir", "work"})
    for (const auto& entry : fs::directory_iterator(path_ + "/" + name)) found.push_back(entry.path());
  for (const char* name : {"/dev/shm", "/tmp", "/var/tmp"})
    for (const auto& entry : fs::directory_iterator(name))
      if (entry.path().string().find(hex64(nonce_of_test())) != std::string::npos)
        found.push_back(entry.path());
  return found;
}

Process start(const Start& start, const Folder& folder) {
  int far_in = -1, far_out = -1;
  Process process;
  if (start.wire == Wire::kPipe) {
    auto in = make_pipe(), out = make_pipe();
    REQUIRE((in && out));
    far_in = in->first.release();
    far_out = out->second.release();
    process.in = std::move(in->second);
    process.out = std::move(out->first);
  } else {
    int ends[2];
    if (start.wire == Wire::kSocketpair) {
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    } else {
      REQUIRE(::openpty(&ends[0], &ends[1], nullptr, nullptr, nullptr) == 0);
      for (int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
    }
    process.in = Fd(ends[0]);
    process.out = Fd(::fcntl(ends[0], F_DUPFD_CLOEXEC, 0));
    far_in = ends[1];
    far_out = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
  }

  std::vector<std::string> environment = {cat("PATH=", start.path), cat("HOME=", folder.path(), "/home"),
                                          cat("XDG_RUNTIME_DIR=", folder.path(), "/runtime dir"),
                                          "TERM=dumb"};
  // fish writes files of its own into the home, as it may.
  for (const char* name : {"CONFIG", "DATA", "CACHE"})
    environment.push_back(cat("XDG_", name, "_HOME=", folder.path(), "/shell"));
  environment.insert(environment.end(), start.environment.begin(), start.environment.end());
  std::vector<char*> argv, envp;
  for (const auto& text : start.argv) argv.push_back(const_cast<char*>(text.c_str()));
  for (const auto& text : environment) envp.push_back(const_cast<char*>(text.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  ::signal(SIGPIPE, SIG_IGN);
  process.pid = ::fork();
  if (process.pid == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::setsid();
    if (start.wire == Wire::kPty) ::ioctl(far_in, TIOCSCTTY, 0);
    ::dup2(far_in, 0);
    ::dup2(far_out, 1);
    // What the shell complains about must not mix with the frames, but on a terminal it does.
    ::dup2(start.wire == Wire::kPty ? far_out : ::open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // whatever we ourselves were given
    if (::chdir((folder.path() + "/work").c_str()) != 0) ::_exit(120);
    start.in_child();
    ::umask(027);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(121);
  }
  REQUIRE(process.pid > 0);
  ::close(far_in);
  ::close(far_out);
  for (int end : {process.in.get(), process.out.get()}) ::fcntl(end, F_SETFL, O_NONBLOCK);
  return process;
}

int end_of(Process& process) {
  process.in.reset();
  process.out.reset();
  int status = -1;
  for (auto deadline = Clock::now() + kDeadline; ::waitpid(process.pid, &status, WNOHANG) == 0;) {
    if (Clock::now() > deadline) {
      ::kill(-process.pid, SIGKILL);
      ::waitpid(process.pid, &status, 0);
      return -1;
    }
    ::poll(nullptr, 0, 1);
  }
  return status;
}

Booted boot(Start what, const Boot& how, const Folder& folder) {
  Handshake handshake(echo_images(), ImageKind::kAgent, nonce_of_test(), how.expected_architecture);
  what.argv.push_back(stage0_command(nonce_of_test(), how.expected_architecture));
  Process process = start(what, folder);

  std::uint8_t length[4];
  store_le(length, std::uint32_t(how.payload.size()));
  std::string payload = std::string(reinterpret_cast<char*>(length), sizeof length) + how.payload;
  std::string output, heard;
  std::size_t written = 0;
  bool payload_given = false, ended = false;
  auto deadline = Clock::now() + kDeadline;
  while (!ended && Clock::now() < deadline) {
    Buffer more = handshake.take_output();
    output.append(more.begin(), more.end());
    bool may_send_payload = handshake.state() == Handshake::State::kLinked ||
                            (!how.expected_architecture.empty() && !payload_given);
    if (!payload_given && may_send_payload) {
      output += payload;
      payload_given = true;
    }
    if (output.empty()) handshake.note_sent();

    pollfd polled[2] = {{process.out.get(), POLLIN, 0},
                        {process.in ? process.in.get() : -1, short(output.empty() ? 0 : POLLOUT), 0}};
    ::poll(polled, 2, 1000);
    if (polled[1].revents != 0 && !output.empty()) {
      auto now = std::min({output.size(), how.pieces_of, how.cut_after - written});
      auto count = ::write(process.in.get(), output.data(), now);
      if (count < 0 && errno != EAGAIN) output.clear();
      if (count > 0) {
        output.erase(0, std::size_t(count));
        written += std::size_t(count);
      }
      if (written >= how.cut_after) {
        // Half of a socket, all of a terminal: what a broken connection looks like from the far end.
        if (what.wire == Wire::kSocketpair) ::shutdown(process.in.get(), SHUT_WR);
        if (what.wire == Wire::kPty) break;
        process.in.reset();
        output.clear();
      }
    }
    if (polled[0].revents != 0) {
      std::uint8_t part[65536];
      auto count = ::read(process.out.get(), part, sizeof part);
      if (count < 0 && errno == EAGAIN) continue;
      if (count <= 0) {  // a terminal ends with EIO
        ended = true;
        handshake.feed_end();
      } else {
        handshake.feed({part, std::size_t(count)});
        handshake.on_image();
        if (handshake.state() == Handshake::State::kLinked) {
          Buffer rest = handshake.take_rest();
          heard.append(rest.begin(), rest.end());
        }
      }
    }
    if (handshake.state() == Handshake::State::kFailed) break;
  }

  Booted booted;
  booted.state = handshake.state();
  booted.error = handshake.error();
  auto line = heard.find('\n');
  if (heard.starts_with("BN\x01\x0b") && line != std::string::npos) {
    booted.banner = heard.substr(4, line - 4);
    booted.echo = heard.substr(line + 1);
  }
  booted.status = end_of(process);
  return booted;
}

}  // namespace banyan::test
