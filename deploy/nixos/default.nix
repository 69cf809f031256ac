# heartwood as a service on NixOS. The hub itself is Python packages in a virtual environment (docs/operators/install.md,
# "As packages"); this module gives it the programs it calls, a user, its folders, and a unit.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.heartwood;
  languages = [ "eng" "deu" ];
in
{
  options.services.heartwood = {
    enable = lib.mkEnableOption "heartwood, a hub for documents made of plugins";

    venv = lib.mkOption {
      type = lib.types.str;
      default = "/opt/heartwood";
      description = "The virtual environment in which heartwood-hub and its plugins are installed.";
    };

    configFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "/etc/heartwood/plugins.toml";
      description = "The configuration; without one, everything is at its default and no plugin is on.";
    };

    dataDir = lib.mkOption {
      type = lib.types.str;
      default = "/var/lib/heartwood";
      description = "The folder of everything that must be kept; it belongs to the user heartwood.";
    };
  };

  config = lib.mkIf cfg.enable {
    # Wheels bring programs for other distributions, the embedded PostgreSQL among them; nix-ld lets them run.
    programs.nix-ld.enable = true;

    users.users.heartwood = {
      isSystemUser = true;
      group = "heartwood";
      home = cfg.dataDir;
    };
    users.groups.heartwood = { };

    systemd.tmpfiles.rules = [ "d ${cfg.dataDir} 0700 heartwood heartwood -" ];

    systemd.services.heartwood = {
      description = "heartwood";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "postgresql.service" ];
      path = [
        (pkgs.tesseract.override { enableLanguages = languages; })
        pkgs.poppler_utils
        pkgs.bubblewrap
      ];
      # a unit does not inherit where nix-ld looks for the loader and for libraries
      environment = {
        NIX_LD = config.environment.sessionVariables.NIX_LD or "/run/current-system/sw/share/nix-ld/lib/ld.so";
        NIX_LD_LIBRARY_PATH =
          config.environment.sessionVariables.NIX_LD_LIBRARY_PATH or "/run/current-system/sw/share/nix-ld/lib";
      };
      serviceConfig = {
        ExecStart = lib.escapeShellArgs (
          [ "${cfg.venv}/bin/heartwood" "--data" cfg.dataDir ]
          ++ lib.optionals (cfg.configFile != null) [ "--config" cfg.configFile ]
          ++ [ "serve" ]
        );
        User = "heartwood";
        Group = "heartwood";
        RuntimeDirectory = "heartwood";
        Restart = "on-failure";
        RestartPreventExitStatus = 78;
        TimeoutStopSec = 60;
      };
    };
  };
}
