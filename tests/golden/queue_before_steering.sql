BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempts (
	id INTEGER NOT NULL, 
	signature TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	worker_id TEXT NOT NULL, 
	host TEXT DEFAULT '' NOT NULL, 
	device TEXT DEFAULT '' NOT NULL, 
	outcome TEXT, 
	started_at FLOAT NOT NULL, 
	ended_at FLOAT, 
	seconds FLOAT, 
	error TEXT, 
	code_version TEXT DEFAULT '' NOT NULL, 
	log_file TEXT DEFAULT '' NOT NULL, 
	request_id TEXT, 
	lease_seconds FLOAT NOT NULL, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT ck_attempts_outcome CHECK (outcome IS NULL OR outcome IN ('COMPLETED', 'FAILED', 'OOM', 'TIMEOUT', 'LOST', 'RELEASED', 'CANCELLED', 'SUPERSEDED')), 
	CONSTRAINT fk_attempts_signature FOREIGN KEY(signature) REFERENCES tasks (signature), 
	CONSTRAINT uq_attempts_signature_number UNIQUE (signature, number)
);
CREATE TABLE experiment_parameters (
	experiment TEXT NOT NULL, 
	name TEXT NOT NULL, 
	original BOOLEAN NOT NULL, 
	first_default TEXT, 
	last_default TEXT, 
	CONSTRAINT pk_experiment_parameters PRIMARY KEY (experiment, name), 
	CONSTRAINT fk_experiment_parameters_experiment FOREIGN KEY(experiment) REFERENCES experiments (name)
);
INSERT INTO "experiment_parameters" VALUES('m:f','seed',1,NULL,NULL);
CREATE TABLE experiments (
	name TEXT NOT NULL, 
	first_seen FLOAT NOT NULL, 
	CONSTRAINT pk_experiments PRIMARY KEY (name)
);
INSERT INTO "experiments" VALUES('m:f',1.79571215344864845275e+09);
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('epoch','1');
CREATE TABLE output_directories (
	id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	columns TEXT, 
	row_count INTEGER DEFAULT '0' NOT NULL, 
	length_bytes INTEGER DEFAULT '0' NOT NULL, 
	checksum TEXT DEFAULT '' NOT NULL, 
	look TEXT DEFAULT '' NOT NULL, 
	next_length_bytes INTEGER, 
	next_checksum TEXT, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_output_directories PRIMARY KEY (id), 
	CONSTRAINT uq_output_directories_path UNIQUE (path)
);
INSERT INTO "output_directories" VALUES(1,'r',NULL,0,0,'0000000000000001','',NULL,NULL,1.79571215343629813189e+09);
CREATE TABLE phases (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	next_number INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_phases PRIMARY KEY (id), 
	CONSTRAINT uq_phases_name UNIQUE (name)
);
INSERT INTO "phases" VALUES(1,'exp1',3);
INSERT INTO "phases" VALUES(2,'exp2',1);
CREATE TABLE results (
	id INTEGER NOT NULL, 
	signature TEXT NOT NULL, 
	attempt_id INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	accepted BOOLEAN NOT NULL, 
	arrived_at FLOAT NOT NULL, 
	CONSTRAINT pk_results PRIMARY KEY (id), 
	CONSTRAINT fk_results_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id), 
	CONSTRAINT fk_results_signature FOREIGN KEY(signature) REFERENCES tasks (signature)
);
CREATE TABLE set_aside (
	id INTEGER NOT NULL, 
	directory_id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	CONSTRAINT pk_set_aside PRIMARY KEY (id), 
	CONSTRAINT fk_set_aside_directory_id FOREIGN KEY(directory_id) REFERENCES output_directories (id)
);
CREATE TABLE task_output_dirs (
	id INTEGER NOT NULL, 
	signature TEXT NOT NULL, 
	directory_id INTEGER NOT NULL, 
	row_number INTEGER, 
	CONSTRAINT pk_task_output_dirs PRIMARY KEY (id), 
	CONSTRAINT fk_task_output_dirs_directory_id FOREIGN KEY(directory_id) REFERENCES output_directories (id), 
	CONSTRAINT fk_task_output_dirs_signature FOREIGN KEY(signature) REFERENCES tasks (signature), 
	CONSTRAINT uq_task_output_dirs_directory_id_row_number UNIQUE (directory_id, row_number), 
	CONSTRAINT uq_task_output_dirs_signature_directory_id UNIQUE (signature, directory_id)
);
INSERT INTO "task_output_dirs" VALUES(1,'f4a427d8e1c244b60983bbe32452d212',1,NULL);
INSERT INTO "task_output_dirs" VALUES(2,'4dfffc0415eeca9daa0f552911c4538c',1,NULL);
INSERT INTO "task_output_dirs" VALUES(3,'ddcfa90f7deee8d1c3eebf65e8c9bca7',1,NULL);
INSERT INTO "task_output_dirs" VALUES(4,'8890ac16565a2f8fde10700254aee785',1,NULL);
CREATE TABLE task_phases (
	phase_id INTEGER NOT NULL, 
	signature TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	timeout_seconds FLOAT, 
	withdrawn BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_task_phases PRIMARY KEY (phase_id, signature), 
	CONSTRAINT fk_task_phases_phase_id FOREIGN KEY(phase_id) REFERENCES phases (id), 
	CONSTRAINT fk_task_phases_signature FOREIGN KEY(signature) REFERENCES tasks (signature)
);
INSERT INTO "task_phases" VALUES(1,'f4a427d8e1c244b60983bbe32452d212',3,3,NULL,0);
INSERT INTO "task_phases" VALUES(1,'4dfffc0415eeca9daa0f552911c4538c',3,3,NULL,0);
INSERT INTO "task_phases" VALUES(1,'ddcfa90f7deee8d1c3eebf65e8c9bca7',3,3,NULL,0);
INSERT INTO "task_phases" VALUES(2,'ddcfa90f7deee8d1c3eebf65e8c9bca7',0,3,NULL,0);
INSERT INTO "task_phases" VALUES(2,'8890ac16565a2f8fde10700254aee785',0,3,NULL,0);
CREATE TABLE tasks (
	id INTEGER NOT NULL, 
	signature TEXT NOT NULL, 
	task_id TEXT NOT NULL, 
	phase_id INTEGER NOT NULL, 
	experiment TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	runtime_only TEXT DEFAULT '[]' NOT NULL, 
	seed INTEGER, 
	state TEXT DEFAULT 'PENDING' NOT NULL, 
	priority INTEGER DEFAULT '0' NOT NULL, 
	cost FLOAT DEFAULT '1' NOT NULL, 
	max_attempts INTEGER DEFAULT '3' NOT NULL, 
	timeout_seconds FLOAT, 
	failures INTEGER DEFAULT '0' NOT NULL, 
	losses INTEGER DEFAULT '0' NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_tasks PRIMARY KEY (id), 
	CONSTRAINT ck_tasks_state CHECK (state IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')), 
	CONSTRAINT fk_tasks_experiment FOREIGN KEY(experiment) REFERENCES experiments (name), 
	CONSTRAINT fk_tasks_phase_id FOREIGN KEY(phase_id) REFERENCES phases (id), 
	CONSTRAINT uq_tasks_signature UNIQUE (signature), 
	CONSTRAINT uq_tasks_task_id UNIQUE (task_id)
);
INSERT INTO "tasks" VALUES(1,'f4a427d8e1c244b60983bbe32452d212','exp1_0_1',1,'m:f','{"seed": 1}','[]',1,'PENDING',3,1.0,3,NULL,0,0,1.79571215344864845275e+09);
INSERT INTO "tasks" VALUES(2,'4dfffc0415eeca9daa0f552911c4538c','exp1_1_2',1,'m:f','{"seed": 2}','[]',2,'PENDING',3,1.0,3,NULL,0,0,1.79571215344864845275e+09);
INSERT INTO "tasks" VALUES(3,'ddcfa90f7deee8d1c3eebf65e8c9bca7','exp1_2_3',1,'m:f','{"seed": 3}','[]',3,'PENDING',3,1.0,3,NULL,0,0,1.79571215344864845275e+09);
INSERT INTO "tasks" VALUES(4,'8890ac16565a2f8fde10700254aee785','exp2_0_4',2,'m:f','{"seed": 4}','[]',4,'PENDING',0,1.0,3,NULL,0,0,1.79571215344864845275e+09);
CREATE TABLE workers (
	worker_id TEXT NOT NULL, 
	host TEXT NOT NULL, 
	device TEXT NOT NULL, 
	worker_type TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	announced_at FLOAT NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (worker_id)
);
CREATE INDEX ix_tasks_claim_largest ON tasks (priority DESC, cost DESC, id) WHERE state = 'PENDING';
CREATE INDEX ix_tasks_claim_smallest ON tasks (priority DESC, cost, id) WHERE state = 'PENDING';
CREATE INDEX ix_tasks_state ON tasks (state);
CREATE INDEX ix_attempts_request ON attempts (request_id);
CREATE UNIQUE INDEX ix_attempts_running ON attempts (signature) WHERE outcome IS NULL;
CREATE INDEX ix_attempts_running_worker ON attempts (worker_id) WHERE outcome IS NULL;
CREATE INDEX ix_task_phases_signature ON task_phases (signature);
CREATE UNIQUE INDEX ix_results_accepted ON results (signature) WHERE accepted;
CREATE INDEX ix_results_signature ON results (signature);
COMMIT;
