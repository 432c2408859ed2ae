BEGIN TRANSACTION;
CREATE TABLE blocks (
	id INTEGER NOT NULL, 
	process INTEGER NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	round INTEGER NOT NULL, 
	retry INTEGER NOT NULL, 
	calls INTEGER NOT NULL, 
	ns BIGINT NOT NULL, 
	sentinel_before_ns BIGINT NOT NULL, 
	sentinel_after_ns BIGINT NOT NULL, 
	cpu_ns BIGINT, 
	switches INTEGER, 
	seal BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(process) REFERENCES processes (id), 
	FOREIGN KEY(model) REFERENCES models (id)
);
INSERT INTO "blocks" VALUES(1,1,'m0',0,0,4,4000,400,410,900,1,4161708114);
INSERT INTO "blocks" VALUES(2,1,'m1',0,0,4,4000,400,410,900,1,945277896);
INSERT INTO "blocks" VALUES(3,1,'m0',1,0,4,4001,400,410,900,1,3873154760);
INSERT INTO "blocks" VALUES(4,1,'m1',1,0,4,4001,400,410,900,1,646106450);
INSERT INTO "blocks" VALUES(5,1,'m0',2,0,4,4002,400,410,900,1,3315903846);
INSERT INTO "blocks" VALUES(6,1,'m1',2,0,4,4002,400,410,900,1,100517628);
INSERT INTO "blocks" VALUES(7,2,'m0',0,0,4,4010,400,410,900,1,1630069454);
INSERT INTO "blocks" VALUES(8,2,'m1',0,0,4,4010,400,410,900,1,2708572500);
INSERT INTO "blocks" VALUES(9,2,'m0',1,0,4,4011,400,410,900,1,2147345492);
INSERT INTO "blocks" VALUES(10,2,'m1',1,0,4,4011,400,410,900,1,3215232974);
INSERT INTO "blocks" VALUES(11,2,'m0',2,0,4,4012,400,410,900,1,1552084986);
INSERT INTO "blocks" VALUES(12,2,'m1',2,0,4,4012,400,410,900,1,2631631968);
CREATE TABLE conditions (
	id VARCHAR(16) NOT NULL, 
	facts TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "conditions" VALUES('9f14513fe1cc3502','{"affinity": [0], "batch": 1, "cache_state": "network", "cores": 1, "cpu_flags": "", "device": "made up", "governor": "none", "kernel": "0", "machine": "none", "numpy": "0", "optimisation": "all", "options": [], "precision": "fp32", "protocol": 1, "runtime": "fake", "runtime_version": "0", "threads": 1}',2004788400);
CREATE TABLE energy (
	id INTEGER NOT NULL, 
	process INTEGER NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	gross_mj FLOAT NOT NULL, 
	net_mj FLOAT NOT NULL, 
	sensor TEXT NOT NULL, 
	update_ms FLOAT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(process) REFERENCES processes (id), 
	FOREIGN KEY(model) REFERENCES models (id)
);
INSERT INTO "energy" VALUES(1,1,'m0',3.0,2.0,'made up',1.0,3062667183);
INSERT INTO "energy" VALUES(2,2,'m0',3.0,3.0,'made up',1.0,1393833561);
CREATE TABLE failures (
	model VARCHAR(64) NOT NULL, 
	conditions VARCHAR(16) NOT NULL, 
	kind TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	hint TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (model, conditions), 
	FOREIGN KEY(model) REFERENCES models (id), 
	FOREIGN KEY(conditions) REFERENCES conditions (id)
);
INSERT INTO "failures" VALUES('m1','9f14513fe1cc3502','RuntimeCrash','it crashed','',1916732993);
CREATE TABLE finalists (
	arch TEXT NOT NULL, 
	facts TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (arch)
);
INSERT INTO "finalists" VALUES('0,0,0,1,0,0','{"onnx": "onnx/a.onnx", "test_accuracy": 0.5}',3777886126);
CREATE TABLE fused (
	model VARCHAR(64) NOT NULL, 
	conditions VARCHAR(16) NOT NULL, 
	graph TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (model, conditions), 
	FOREIGN KEY(model) REFERENCES models (id), 
	FOREIGN KEY(conditions) REFERENCES conditions (id)
);
INSERT INTO "fused" VALUES('m0','9f14513fe1cc3502','{"schema":"hwnas.graph/1","runtime":"","inputs":[["x",[[1,8],"float32",false]]],"outputs":["y"],"operators":[["","Relu",[],[[[1,8],"float32",false]],[[[1,8],"float32",false]]]],"nodes":[[0,["x"],["y"],""]]}',4215111677);
INSERT INTO "fused" VALUES('m1','9f14513fe1cc3502','{"schema":"hwnas.graph/1","runtime":"","inputs":[["x",[[1,8],"float32",false]]],"outputs":["y"],"operators":[["","Relu",[],[[[1,8],"float32",false]],[[[1,8],"float32",false]]]],"nodes":[[0,["x"],["y"],""]]}',2352631659);
CREATE TABLE memory (
	process INTEGER NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	process_peak_bytes BIGINT, 
	unavailable TEXT, 
	seal BIGINT, 
	PRIMARY KEY (process, model), 
	FOREIGN KEY(process) REFERENCES processes (id), 
	FOREIGN KEY(model) REFERENCES models (id)
);
INSERT INTO "memory" VALUES(1,'m0',1048576,NULL,3031811739);
INSERT INTO "memory" VALUES(2,'m0',1048576,NULL,3060515260);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema_version','3',1683071582);
INSERT INTO "meta" VALUES('written_by','0.1.0',4125519058);
CREATE TABLE models (
	id VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	space TEXT, 
	arch TEXT, 
	graph TEXT NOT NULL, 
	kernel TEXT, 
	copies INTEGER NOT NULL, 
	seal BIGINT, 
	graph_seal BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "models" VALUES('m0','m0.onnx',NULL,NULL,'{"schema":"hwnas.graph/1","runtime":"","inputs":[["x",[[1,8],"float32",false]]],"outputs":["y"],"operators":[["","Relu",[],[[[1,8],"float32",false]],[[[1,8],"float32",false]]]],"nodes":[[0,["x"],["y"],""]]}',NULL,1,1838918126,2416994780);
INSERT INTO "models" VALUES('m1','m1.onnx',NULL,NULL,'{"schema":"hwnas.graph/1","runtime":"","inputs":[["x",[[1,8],"float32",false]]],"outputs":["y"],"operators":[["","Relu",[],[[[1,8],"float32",false]],[[[1,8],"float32",false]]]],"nodes":[[0,["x"],["y"],""]]}',NULL,1,1003002685,2416994780);
CREATE TABLE processes (
	id INTEGER NOT NULL, 
	conditions VARCHAR(16) NOT NULL, 
	invocation VARCHAR(32) NOT NULL, 
	seed INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	device_s FLOAT, 
	facts TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(conditions) REFERENCES conditions (id)
);
INSERT INTO "processes" VALUES(1,'9f14513fe1cc3502','invocation 0',0,'finished',1.5,'[{"event": "state", "gemm_ns": 400}]',795180509);
INSERT INTO "processes" VALUES(2,'9f14513fe1cc3502','invocation 1',1,'finished',1.5,'[{"event": "state", "gemm_ns": 400}]',444466840);
CREATE TABLE profiles (
	process INTEGER NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	kernels TEXT NOT NULL, 
	allocator_peak_bytes BIGINT, 
	sentinel_ns BIGINT NOT NULL, 
	run_ns FLOAT, 
	seal BIGINT, 
	PRIMARY KEY (process, model), 
	FOREIGN KEY(process) REFERENCES processes (id), 
	FOREIGN KEY(model) REFERENCES models (id)
);
INSERT INTO "profiles" VALUES(1,'m0','[["relu", "Relu", 12.5, 20]]',4096,400,1000.5,3981253557);
INSERT INTO "profiles" VALUES(2,'m0','[["relu", "Relu", 12.5, 20]]',4096,400,1000.5,4268040902);
CREATE TABLE searches (
	id INTEGER NOT NULL, 
	strategy VARCHAR(64) NOT NULL, 
	settings TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "searches" VALUES(1,'nsga2','{"population": 4}',2822015601);
INSERT INTO "searches" VALUES(2,'random','{}',69723415);
CREATE TABLE study (
	"key" VARCHAR(32) NOT NULL, 
	value TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY ("key")
);
INSERT INTO "study" VALUES('version','3',3137975112);
INSERT INTO "study" VALUES('space','"nasbench201:cells=1,channels=4,resolution=8"',4029425538);
INSERT INTO "study" VALUES('objectives','[{"name": "error", "unit": "percent", "maximise": false, "source": "table", "spec": "table:t.csv:error"}, {"name": "latency", "unit": "ms", "maximise": false, "source": "table", "spec": "table:t.csv:ms"}]',2308415310);
INSERT INTO "study" VALUES('constraints','[{"name": "latency", "bound": 5.0, "upper": true}]',4110043856);
INSERT INTO "study" VALUES('seed','3',3867326819);
INSERT INTO "study" VALUES('data','""',3284497552);
INSERT INTO "study" VALUES('target','""',509517065);
INSERT INTO "study" VALUES('settings','{}',4138960704);
INSERT INTO "study" VALUES('asked','[{"at": 1795949556, "judged": 0, "evaluations": 3, "strategies": ["nsga2", "random"]}]',498865122);
INSERT INTO "study" VALUES('reference','[10.0, 10.0]',1883230698);
CREATE TABLE targets (
	name VARCHAR(200) NOT NULL, 
	conditions VARCHAR(16) NOT NULL, 
	profile TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (name), 
	FOREIGN KEY(conditions) REFERENCES conditions (id)
);
INSERT INTO "targets" VALUES('made-up','9f14513fe1cc3502','{}',3525912469);
CREATE TABLE trial_failures (
	trial INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	seal BIGINT, 
	PRIMARY KEY (trial), 
	FOREIGN KEY(trial) REFERENCES trials (id)
);
INSERT INTO "trial_failures" VALUES(3,'it raised',2134736979);
CREATE TABLE trial_replicates (
	trial INTEGER NOT NULL, 
	objective VARCHAR(64) NOT NULL, 
	replicate INTEGER NOT NULL, 
	value FLOAT, 
	seal BIGINT, 
	PRIMARY KEY (trial, objective, replicate), 
	FOREIGN KEY(trial) REFERENCES trials (id)
);
INSERT INTO "trial_replicates" VALUES(1,'error',0,3.5,2462842453);
INSERT INTO "trial_replicates" VALUES(1,'error',1,4.5,1080453256);
CREATE TABLE trials (
	id INTEGER NOT NULL, 
	search INTEGER NOT NULL, 
	batch INTEGER NOT NULL, 
	arch TEXT NOT NULL, 
	note TEXT NOT NULL, 
	result TEXT, 
	completed INTEGER, 
	budgets TEXT, 
	seal BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(search) REFERENCES searches (id)
);
INSERT INTO "trials" VALUES(1,1,0,'0,0,0,1,0,0','warm','{"error": [4.0, null, null], "latency": [2.5, 2.25, 2.75]}',2,NULL,1556842773);
INSERT INTO "trials" VALUES(2,1,0,'0,0,0,2,0,0','warm','{"error": [5.0, null, null], "latency": [1.5, 1.35, 1.6500000000000001]}',1,NULL,1956435096);
INSERT INTO "trials" VALUES(3,2,0,'0,0,0,3,0,0','','{"error": [null, null, null], "latency": [3.0, 2.7, 3.3000000000000003]}',3,NULL,466135779);
INSERT INTO "trials" VALUES(4,2,0,'0,0,0,4,0,0','','{"error": [6.0, null, null], "latency": [1.0, 0.9, 1.1]}',4,NULL,3175442170);
INSERT INTO "trials" VALUES(5,1,1,'3,3,3,3,3,1','',NULL,NULL,NULL,1978923658);
INSERT INTO "trials" VALUES(6,1,1,'3,3,3,3,3,2','',NULL,NULL,NULL,770528162);
CREATE INDEX ix_processes_conditions ON processes (conditions);
CREATE INDEX ix_blocks_process ON blocks (process);
CREATE INDEX ix_blocks_model ON blocks (model);
CREATE INDEX ix_energy_process ON energy (process);
CREATE INDEX ix_energy_model ON energy (model);
CREATE TRIGGER unseal_conditions AFTER UPDATE ON conditions WHEN new.seal IS old.seal BEGIN UPDATE conditions SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_meta AFTER UPDATE ON meta WHEN new.seal IS old.seal BEGIN UPDATE meta SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_models AFTER UPDATE ON models WHEN new.seal IS old.seal BEGIN UPDATE models SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_failures AFTER UPDATE ON failures WHEN new.seal IS old.seal BEGIN UPDATE failures SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_fused AFTER UPDATE ON fused WHEN new.seal IS old.seal BEGIN UPDATE fused SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_processes AFTER UPDATE ON processes WHEN new.seal IS old.seal BEGIN UPDATE processes SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_targets AFTER UPDATE ON targets WHEN new.seal IS old.seal BEGIN UPDATE targets SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_blocks AFTER UPDATE ON blocks WHEN new.seal IS old.seal BEGIN UPDATE blocks SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_energy AFTER UPDATE ON energy WHEN new.seal IS old.seal BEGIN UPDATE energy SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_memory AFTER UPDATE ON memory WHEN new.seal IS old.seal BEGIN UPDATE memory SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_profiles AFTER UPDATE ON profiles WHEN new.seal IS old.seal BEGIN UPDATE profiles SET seal = NULL WHERE rowid = new.rowid; END;
CREATE INDEX ix_trials_search ON trials (search);
CREATE TRIGGER unseal_finalists AFTER UPDATE ON finalists WHEN new.seal IS old.seal BEGIN UPDATE finalists SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_searches AFTER UPDATE ON searches WHEN new.seal IS old.seal BEGIN UPDATE searches SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_study AFTER UPDATE ON study WHEN new.seal IS old.seal BEGIN UPDATE study SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_trials AFTER UPDATE ON trials WHEN new.seal IS old.seal BEGIN UPDATE trials SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_trial_failures AFTER UPDATE ON trial_failures WHEN new.seal IS old.seal BEGIN UPDATE trial_failures SET seal = NULL WHERE rowid = new.rowid; END;
CREATE TRIGGER unseal_trial_replicates AFTER UPDATE ON trial_replicates WHEN new.seal IS old.seal BEGIN UPDATE trial_replicates SET seal = NULL WHERE rowid = new.rowid; END;
COMMIT;
