# private_apt.sh -- sourced: apt with a state folder of its own, for sources and foreign architectures.
#
# The system's lists, settings and dpkg architectures stay as they are, and no root is needed. Where to fetch
# from, and the keys to check it with, are what the system's own apt uses for this release.

# private_apt FOLDER TYPE ARCH: makes the state folder and fetches the lists. TYPE is deb or deb-src.
private_apt() {
  apt_folder=$1
  apt_arch=$3
  mkdir -p "$apt_folder"/lists/partial "$apt_folder"/cache/archives/partial "$apt_folder"/empty
  : >"$apt_folder/status"
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # Other repositories may call a part of theirs "main" too: only this release's, and its updates.
  apt-get indextargets --format '$(CREATED_BY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' |
    while IFS='|' read -r by uri suite component; do
      case $by,$component,$suite in
        Packages,main,"$release" | Packages,main,"$release"-updates | Packages,main,"$release"-security)
          echo "$2 $uri $suite main" ;;
      esac
    done | sort -u >"$apt_folder/sources.list"
  if [ ! -s "$apt_folder/sources.list" ]; then
    echo "apt here has no source for the main part of release '$release'" >&2
    return 1
  fi
  # A list that a mirror has only half renewed is left out by apt, which then fails; another may have what is wanted.
  private_apt_get update || echo "some lists could not be fetched; trying with the others" >&2
}

private_apt_get() {
  # Sandbox::User: as root, apt would otherwise change to a user who may not enter this folder.
  # Dir::Etc::trusted: the release's own keys also where only a Signed-By option names them.
  apt-get -qq -o Dir::State="$apt_folder" -o Dir::State::lists="$apt_folder/lists" \
    -o Dir::State::status="$apt_folder/status" -o Dir::Cache="$apt_folder/cache" \
    -o Dir::Etc::sourcelist="$apt_folder/sources.list" -o Dir::Etc::sourceparts="$apt_folder/empty" \
    -o Dir::Etc::trusted=/usr/share/keyrings/debian-archive-keyring.gpg \
    -o APT::Architecture="$apt_arch" -o APT::Architectures="$apt_arch" -o APT::Sandbox::User=root \
    -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@"
}
