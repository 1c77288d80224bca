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
INSERT INTO "attempts" VALUES(1,'c558591efe0bb65288e687eb87550365',1,'gpu-box-cpu','gpu-box','cpu','COMPLETED',1.79570967568479871747e+09,1.79570967617052149774e+09,3.78609984181821346282e-05,NULL,'','.sqlqueue/logs/one_0_1/1.log','1a7718e99d514cc79fa52c724551c506',60.0);
INSERT INTO "attempts" VALUES(2,'b70887da603bdba780597d790dc99666',1,'gpu-box-cpu','gpu-box','cpu','FAILED',1.79570967617052149774e+09,1.7957096762061731816e+09,3.96649993490427732467e-05,'Traceback (most recent call last):
  File "/study/trial.py", line 3, in measure
    raise ValueError(width)
ValueError: -1','','.sqlqueue/logs/one_1_1/1.log','3670a060f79740609d43abea6d844b7c',60.0);
INSERT INTO "attempts" VALUES(3,'c1c44cc3d71def60b0564a0f3ee2282a',1,'gpu-box-cpu','gpu-box','cpu','COMPLETED',1.79570967621903610227e+09,1.7957096766866240501e+09,4.70390004920773208141e-05,NULL,'','.sqlqueue/logs/one_2_2/1.log','5619445f66f44d1a978c4abc4528608e',60.0);
INSERT INTO "attempts" VALUES(4,'aa5b44113ccad6c883abf27c25f7dffc',1,'gpu-box-cpu','gpu-box','cpu','FAILED',1.7957096766866240501e+09,1.79570967673677945133e+09,3.87020008929539471864e-05,'Traceback (most recent call last):
  File "/study/trial.py", line 3, in measure
    raise ValueError(width)
ValueError: -1','','.sqlqueue/logs/one_3_2/1.log','47cf0375711c4a7aa157976ea541bcaa',60.0);
INSERT INTO "attempts" VALUES(5,'e0537cb4bbbc06ba8bc4ebaea4c6d678',1,'gpu-box-cpu','gpu-box','cpu','COMPLETED',1.79570967673677945133e+09,1.79570967723733472824e+09,4.98430017614737153053e-05,NULL,'','.sqlqueue/logs/two_0_3/1.log','5cfb6676625b44e69efa3fbf94a1d604',60.0);
CREATE TABLE experiment_parameters (
	experiment TEXT NOT NULL, 
	name TEXT NOT NULL, 
	original BOOLEAN NOT NULL, 
	first_default TEXT, 
	last_default TEXT, 
	CONSTRAINT pk_experiment_parameters PRIMARY KEY (experiment, name), 
	CONSTRAINT fk_experiment_parameters_experiment FOREIGN KEY(experiment) REFERENCES experiments (name)
);
INSERT INTO "experiment_parameters" VALUES('trial:measure','seed',1,NULL,NULL);
INSERT INTO "experiment_parameters" VALUES('trial:measure','width',1,NULL,'4');
CREATE TABLE experiments (
	name TEXT NOT NULL, 
	first_seen FLOAT NOT NULL, 
	CONSTRAINT pk_experiments PRIMARY KEY (name)
);
INSERT INTO "experiments" VALUES('trial:measure',1.79570967241582322123e+09);
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('epoch','3');
INSERT INTO "meta" VALUES('place','{"hostname": "gpu-box", "machine": "00000000000000000000000000000001", "home": "/study/.sqlqueue", "inode": 2220549}');
INSERT INTO "meta" VALUES('queue','9a052d7212064313bd2b376ff77616e3');
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
INSERT INTO "output_directories" VALUES(1,'out','["phase", "task_id", "signature", "seed", "width", "score"]',2,143,'912e832b455f2b2c','65024:2221303:143:1795709676692527091:1795709676692527091',NULL,NULL,1.79570967237438178058e+09);
INSERT INTO "output_directories" VALUES(2,'other','["phase", "task_id", "signature", "seed", "width", "score"]',2,144,'89a8185389212c4e','65024:2221458:144:1795709677236527114:1795709677236527114',NULL,NULL,1.79570967237438178058e+09);
CREATE TABLE phases (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	next_number INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_phases PRIMARY KEY (id), 
	CONSTRAINT uq_phases_name UNIQUE (name)
);
INSERT INTO "phases" VALUES(1,'one',5);
INSERT INTO "phases" VALUES(2,'two',1);
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
INSERT INTO "results" VALUES(1,'c558591efe0bb65288e687eb87550365',1,'{"score": 4}',1,1.79570967617052149774e+09);
INSERT INTO "results" VALUES(2,'c1c44cc3d71def60b0564a0f3ee2282a',3,'{"score": 8}',1,1.7957096766866240501e+09);
INSERT INTO "results" VALUES(3,'e0537cb4bbbc06ba8bc4ebaea4c6d678',5,'{"score": 12}',1,1.79570967723733472824e+09);
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
INSERT INTO "task_output_dirs" VALUES(1,'c558591efe0bb65288e687eb87550365',1,1);
INSERT INTO "task_output_dirs" VALUES(2,'b70887da603bdba780597d790dc99666',1,NULL);
INSERT INTO "task_output_dirs" VALUES(3,'c1c44cc3d71def60b0564a0f3ee2282a',1,2);
INSERT INTO "task_output_dirs" VALUES(4,'aa5b44113ccad6c883abf27c25f7dffc',1,NULL);
INSERT INTO "task_output_dirs" VALUES(5,'c558591efe0bb65288e687eb87550365',2,1);
INSERT INTO "task_output_dirs" VALUES(6,'e0537cb4bbbc06ba8bc4ebaea4c6d678',2,2);
INSERT INTO "task_output_dirs" VALUES(7,'b8d9da0cc7bbdaec7730b8bc2b32ebf4',1,NULL);
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
INSERT INTO "task_phases" VALUES(1,'c558591efe0bb65288e687eb87550365',0,1,NULL,0);
INSERT INTO "task_phases" VALUES(1,'b70887da603bdba780597d790dc99666',0,1,NULL,0);
INSERT INTO "task_phases" VALUES(1,'c1c44cc3d71def60b0564a0f3ee2282a',0,1,NULL,0);
INSERT INTO "task_phases" VALUES(1,'aa5b44113ccad6c883abf27c25f7dffc',0,1,NULL,0);
INSERT INTO "task_phases" VALUES(2,'c558591efe0bb65288e687eb87550365',0,1,NULL,0);
INSERT INTO "task_phases" VALUES(2,'e0537cb4bbbc06ba8bc4ebaea4c6d678',0,1,NULL,0);
INSERT INTO "task_phases" VALUES(1,'b8d9da0cc7bbdaec7730b8bc2b32ebf4',0,3,NULL,0);
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
INSERT INTO "tasks" VALUES(1,'c558591efe0bb65288e687eb87550365','one_0_1',1,'trial:measure','{"seed": 1, "width": 4}','[]',1,'COMPLETED',0,1.0,1,NULL,0,0,1.79570967241582322123e+09);
INSERT INTO "tasks" VALUES(2,'b70887da603bdba780597d790dc99666','one_1_1',1,'trial:measure','{"seed": 1, "width": -1}','[]',1,'FAILED',0,1.0,1,NULL,1,0,1.79570967241582322123e+09);
INSERT INTO "tasks" VALUES(3,'c1c44cc3d71def60b0564a0f3ee2282a','one_2_2',1,'trial:measure','{"seed": 2, "width": 4}','[]',2,'COMPLETED',0,1.0,1,NULL,0,0,1.79570967241582322123e+09);
INSERT INTO "tasks" VALUES(4,'aa5b44113ccad6c883abf27c25f7dffc','one_3_2',1,'trial:measure','{"seed": 2, "width": -1}','[]',2,'FAILED',0,1.0,1,NULL,1,0,1.79570967241582322123e+09);
INSERT INTO "tasks" VALUES(5,'e0537cb4bbbc06ba8bc4ebaea4c6d678','two_0_3',2,'trial:measure','{"seed": 3, "width": 4}','[]',3,'COMPLETED',0,1.0,1,NULL,0,0,1.79570967241582322123e+09);
INSERT INTO "tasks" VALUES(6,'b8d9da0cc7bbdaec7730b8bc2b32ebf4','one_4_9',1,'trial:measure','{"seed": 9, "width": 4}','[]',9,'PENDING',0,1.0,3,NULL,0,0,1.79570967979169940952e+09);
CREATE TABLE workers (
	worker_id TEXT NOT NULL, 
	host TEXT NOT NULL, 
	device TEXT NOT NULL, 
	worker_type TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	announced_at FLOAT NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (worker_id)
);
INSERT INTO "workers" VALUES('gpu-box-cpu','gpu-box','cpu','cpu',17092,1.79570967562034583086e+09);
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
