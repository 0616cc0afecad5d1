// tests/end_to_end/engines.h -- real engines of containers for one test: dockerd, podman and lxc, of Debian's
// packages, which ./dev unpacks and never installs. They run on the machine A of a chain, so that what they
// leave behind (mounts, daemons, files) ends with it; their cgroups, which are the real machine's, are one
// tree that is removed. No container has a network, and no image comes from anywhere: all have the same
// root, made of busybox.
#pragma once

#include "tests/end_to_end/chain.h"

namespace banyan::test {

// The engines, for whoever needs them. If they are not there it is said, and the test is passed over.
inline bool has_engines() {
  if (!has_chain()) return false;
  if (::access(BANYAN_SOURCE_FOLDER "/.cache/engines/usr/sbin/dockerd", X_OK) == 0) return true;
  not_tested("engines", "no container engines are unpacked (./dev test does so)");
  return false;
}

// A tree of cgroups of the real machine, of version 2. Engines enable for it, from the top, what limits they
// can have; what was not enabled there before is not any more in the end, when all that was in it has ended.
class CgroupTree {
 public:
  CgroupTree() : name_(cat("banyan-test-", std::int64_t(::getpid()))) {
    REQUIRE(
        run(cat("for old in banyan-test-*; do\n"
                "  [ -d /proc/${old##*-} ] || find $old -depth -type d -exec rmdir {} + || :\n"
                "done 2>/dev/null\nmkdir ",
                name_)));
    controllers_ = controllers();
  }
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;
  ~CgroupTree() {
    CHECK(run(cat("find ", name_, " -depth -type d -exec rmdir {} +")));
    std::istringstream now(controllers());
    for (std::string one; now >> one;)
      if (!contains(cat(" ", controllers_, " "), cat(" ", one, " ")))
        run(cat("echo -", one, " >cgroup.subtree_control"));
  }
  const std::string& name() const { return name_; }

 private:
  // In the hierarchy's top folder, wherever this machine has that.
  static std::string words(const std::string& line) {
    return cat("exec unshare -m sh -ec 'mount -t cgroup2 none /mnt\ncd /mnt\n", line, "'");
  }
  static bool run(const std::string& line) { return std::system(words(line).c_str()) == 0; }
  static std::string controllers() {
    FILE* const said = ::popen(words("cat cgroup.subtree_control").c_str(), "re");
    char all[1024] = "";
    const char* const line = said == nullptr ? nullptr : std::fgets(all, sizeof all, said);
    if (said != nullptr) ::pclose(said);
    return line == nullptr ? "" : std::string(line, std::strcspn(line, "\n"));
  }

  std::string name_, controllers_;
};

class RealEngines : CgroupTree, public Chain {
 public:
  RealEngines() : Chain(TestedChain::with_programs(options())) {
    a().write("/opt/engines.sh", cat("cgroups=", name(), "\n", kEnvironment), 0644);
    on_a(kSetUp);
    a().write("/opt/state/containers.conf", kContainersConf, 0644);
    a().write("/opt/state/storage.conf", kStorageConf, 0644);
    remember_files();
    on_a(kStart);
  }
  // What does not end is among what is left.
  ~RealEngines() {
    try {
      on_a(kStop);
    } catch (const std::runtime_error& error) {
      FAIL_CHECK(error.what());
    }
    is_quiet();
    for (const std::string& left : leftovers())
      if (!is_theirs(left)) FAIL_CHECK("left in the chain: " << left);
  }

  Machine& a() { return (*this)['A']; }

  // Runs a shell line on A, with the engines in PATH.
  std::string on_a(const std::string& line) { return a().run(cat(". /opt/engines.sh\n", line)); }

  // The program on A, or on home, with A before the targets' own names.
  Finished run_on_a(const Words& arguments, std::string_view input = {}) {
    ::signal(SIGPIPE, SIG_IGN);
    Program program(arguments, Program::Shape::kPipes, {}, starter());
    return program.finish(input);
  }
  Words starter() {
    return a().starter() +
           Words{"sh", "-c", ". /opt/engines.sh\nshift\nexec /opt/banyan/banyan \"$@\"", "sh"};
  }

 private:
  // Files that engines leave, wherever they are told to have theirs.
  static bool is_theirs(const std::string& left) {
    for (const char* path : {"/dev/shm/libpod_lock", "/etc/cni", "/etc/docker", "/run/containerd",
                             "/run/docker", "/run/lxc", "/run/runc", "/var/lib/lxc"})
      if (left.starts_with(cat("A: new file ", path))) return true;
    return false;
  }

  static Options options() {
    Options options;
    options.length = 1;
    options.folders["/opt/engines"] = BANYAN_SOURCE_FOLDER "/.cache/engines";
    // Who comes by ssh finds them too.
    options.server_lines =
        "SetEnv PATH=/opt/engines/usr/bin:/opt/engines/usr/sbin:/usr/bin:/usr/sbin "
        "DOCKER_HOST=unix:///opt/state/docker.sock CONTAINERS_CONF=/opt/state/containers.conf "
        "CONTAINERS_STORAGE_CONF=/opt/state/storage.conf";
    return options;
  }

  static constexpr const char* kEnvironment = R"(
PATH=/opt/engines/usr/bin:/opt/engines/usr/sbin:/usr/bin:/usr/sbin
DOCKER_HOST=unix:///opt/state/docker.sock
CONTAINERS_CONF=/opt/state/containers.conf
CONTAINERS_STORAGE_CONF=/opt/state/storage.conf
export PATH DOCKER_HOST CONTAINERS_CONF CONTAINERS_STORAGE_CONF
unset TMPDIR XDG_RUNTIME_DIR
root=/opt/state/root
# podman: no limit of processes, which the real machine's second hierarchy of cgroups may not have.
docker_run="docker run -d --network=none --cgroup-parent=/$cgroups"
podman_run="podman run -d --network=none --cgroup-parent=/$cgroups --pids-limit=0"
)";

  static constexpr const char* kSetUp = R"(set -e
mkdir -p /sys/fs/cgroup /var/lib/lxc /opt/state
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs -o mode=755 none /opt/state
mkdir -p $root/bin $root/usr/bin $root/proc $root/dev $root/sys $root/etc $root/tmp $root/work
chmod 1777 $root/tmp
cp $(command -v busybox) $root/bin/
for library in $(ldd $root/bin/busybox | grep -o '/[^ ]*'); do
  mkdir -p $root${library%/*}
  cp -L $library $root$library
done
for name in $(busybox --list); do [ -e $root/bin/$name ] || ln -s busybox $root/bin/$name; done
echo inside >$root/etc/where
printf 'root:x:0:0:root:/:/bin/sh\nann:x:24001:24001::/work:/bin/sh\n' >$root/etc/passwd
printf 'root:x:0:\nann:x:24001:\n' >$root/etc/group
)";
  static constexpr const char* kContainersConf =
      "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\n"
      "conmon_path = [\"/opt/engines/usr/bin/conmon\"]\n"
      "tmp_dir = \"/opt/state/podman\"\nstatic_dir = \"/opt/state/libpod\"\n"
      "[engine.runtimes]\nrunc = [\"/opt/engines/usr/sbin/runc\"]\n";
  static constexpr const char* kStorageConf =
      "[storage]\ndriver = \"vfs\"\nrunroot = \"/opt/state/podman-run\"\ngraphroot = "
      "\"/opt/state/podman-graph\"\n";

  static constexpr const char* kStart = R"(set -e
dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs --data-root=/opt/state/docker \
  --exec-root=/opt/state/docker-run -H $DOCKER_HOST -p /opt/state/docker.pid >/opt/state/docker.log 2>&1 &
tries=0
until docker version >/dev/null 2>&1; do
  kill -0 $! && [ $((tries += 1)) -lt 400 ] || { cat /opt/state/docker.log >&2; exit 1; }
  sleep 0.05
done
tar -C $root -c . | docker import - busybox >/dev/null
mkdir -p /opt/state/mnt /opt/state/lxc/app
mount --bind /opt/state/lxc /var/lib/lxc
cat >/opt/state/lxc/app/config <<END
lxc.uts.name = app
lxc.rootfs.path = dir:$root
lxc.rootfs.mount = /opt/state/mnt
lxc.mount.auto = proc sys
lxc.net.0.type = empty
lxc.cgroup.relative = 0
lxc.cgroup.dir = $cgroups/lxc
lxc.init.cmd = /bin/sleep 100000
END
)";
  // Some of it may be over already.
  static constexpr const char* kStop = R"(
exec 2>/dev/null
docker ps -aq | xargs -r docker rm -f
podman rm -fa -t 0
lxc-stop -k -n app
kill $(cat /opt/state/docker.pid)
:
)";
};

}  // namespace banyan::test
